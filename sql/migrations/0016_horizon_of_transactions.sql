set local role nexus_owner;

-- A ticket dated by its own transaction leaves no mark any more, however long that has been open: so every
-- transaction of the time is waited for, and not just those that were writing tickets.
alter table nexus_engine.rollup_horizon add column candidate_transactions text[];
update nexus_engine.rollup_horizon set candidate_at = null, candidate_writers = null;
