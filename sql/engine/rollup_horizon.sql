-- Up to when days may be rolled up: when no transaction is left that may have thought them open.

-- Moves the horizon: up to proved_at every transaction that may have written tickets without a mark
-- has ended, so that a later snapshot sees what it did. A candidate is proved when the transactions
-- that held the lock of a writer on ventas at that time have ended. Call it in a transaction of its
-- own, before roll_up.
create or replace function nexus_engine.note_horizon() returns void
language plpgsql
as $$
declare
  -- Given out after now(): whoever wrote before now() has a lower one.
  own bigint := pg_current_xact_id()::text::bigint;
begin
  update nexus_engine.rollup_horizon h set candidate_at = now(), candidate_writers = (
    with lock as materialized (select * from pg_catalog.pg_locks l where l.granted)
    select coalesce(array_agg((own - behind)::text::xid8), '{}')
    from lock relation
    join lock writer on writer.virtualtransaction = relation.virtualtransaction
      and writer.pid is not distinct from relation.pid and writer.locktype = 'transactionid'
    cross join lateral (
      -- Of the id the lock shows 32 bits.
      select (own - writer.transactionid::text::bigint) & 4294967295 as behind
    ) b
    where relation.locktype = 'relation' and relation.relation = 'public.ventas'::regclass
      and relation.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
      and relation.mode = 'RowExclusiveLock' and behind < 2147483648)
  -- A candidate with ids that are yet to come was restored from another cluster.
  where h.candidate_at is null or own::text::xid8 < any (h.candidate_writers);
end;
$$;

-- The instant up to which days may be rolled up, null before the first candidate is proved.
create or replace function nexus_engine.prove_horizon() returns timestamptz
language plpgsql
as $$
declare
  proved timestamptz;
begin
  update nexus_engine.rollup_horizon h
  set proved_at = h.candidate_at, candidate_at = null, candidate_writers = null
  where h.candidate_at is not null and not exists (
    select from unnest(h.candidate_writers) writer
    where not pg_visible_in_snapshot(writer, pg_current_snapshot()));
  select h.proved_at - nexus_engine.rolled_up_after() into proved from nexus_engine.rollup_horizon h;
  return proved;
end;
$$;
