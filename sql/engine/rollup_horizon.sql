-- Up to when days may be rolled up: when no transaction is left that may have thought them open.

-- Notes the time and every transaction of the POS's database that is open at it, whether it has written yet
-- or not: a candidate. Those of autovacuum (without a user) write no tickets. Call it in a transaction of
-- its own, before roll_up.
create or replace function nexus_engine.note_horizon() returns void
language plpgsql
as $$
begin
  update nexus_engine.rollup_horizon h
  set candidate_at = now(), candidate_writers = null, candidate_transactions = array(
    select l.virtualxid
    from pg_catalog.pg_locks l
    join pg_catalog.pg_stat_activity a on a.pid = l.pid and a.usesysid is not null
      and a.datid = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
    where l.locktype = 'virtualxid' and l.granted)
  -- A candidate with ids that are yet to come was restored from another cluster.
  where h.candidate_at is null or pg_current_xact_id() < any (h.candidate_writers);
end;
$$;

-- The transactions of the candidate that are still open, by the ids of their processes.
create or replace function nexus_engine.horizon_holders() returns int[]
language sql
as $$
  select array(
    select l.pid from pg_catalog.pg_locks l
    join nexus_engine.rollup_horizon h on l.virtualxid = any (h.candidate_transactions)
    where l.locktype = 'virtualxid' and l.granted)
$$;

-- Makes the candidate the horizon when all its transactions have ended, so that a later snapshot sees what
-- they did. Those that were prepared for a second phase meanwhile are waited for by their ids.
-- Returns the instant up to which days may be rolled up, null before the first candidate is proved.
create or replace function nexus_engine.prove_horizon() returns timestamptz
language plpgsql
as $$
declare
  proved timestamptz;
  own bigint;
begin
  if exists (select from nexus_engine.rollup_horizon h where h.candidate_transactions is not null)
    and nexus_engine.horizon_holders() = '{}'
  then
    own := pg_current_xact_id()::text::bigint;
    update nexus_engine.rollup_horizon h set candidate_transactions = null, candidate_writers = array(
      -- Of the id the view shows 32 bits.
      select (own - ((own - p.transaction::text::bigint) & 4294967295))::text::xid8
      from pg_catalog.pg_prepared_xacts p where p.database = current_database());
  end if;
  update nexus_engine.rollup_horizon h
  set proved_at = h.candidate_at, candidate_at = null, candidate_writers = null
  where h.candidate_at is not null and h.candidate_transactions is null and not exists (
    select from unnest(h.candidate_writers) writer
    where not pg_visible_in_snapshot(writer, pg_current_snapshot()));
  select h.proved_at - nexus_engine.rolled_up_after() into proved from nexus_engine.rollup_horizon h;
  return proved;
end;
$$;
