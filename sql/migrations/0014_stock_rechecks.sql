set local role nexus_owner;

-- Stores whose whole stock must be looked at again, because a threshold of theirs changed: a sale that
-- was under way then may have judged by the old one and left no event. A row stays until every
-- transaction of that time has ended. Append-only, so that nobody who changes a threshold waits for
-- another.
create table nexus_engine.stock_recheck (
  tienda_id uuid not null,
  -- Ids from this one on began after a pass had seen the row; null until one has.
  seen_before xid8
);
create index stock_recheck_tienda on nexus_engine.stock_recheck (tienda_id);

grant insert, update, delete on nexus_engine.stock_recheck to nexus_worker;
