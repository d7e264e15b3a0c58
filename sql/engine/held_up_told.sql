-- Who stands in front of a store that is held up: for the log, see src/worker/held-up.ts.

-- The stores that have been held up for p_after, of which nobody told within p_every: the caller is to tell.
create or replace function nexus_engine.take_held_up_to_tell(p_after interval, p_every interval)
returns table (tienda_id uuid, work text, since timestamptz, attempts int)
language sql
as $$
  update nexus_engine.store_held_up h set told_at = clock_timestamp()
  where h.ctid = any (array(
    select k.ctid from nexus_engine.store_held_up k
    where k.since <= clock_timestamp() - p_after
      and (k.told_at is null or k.told_at <= clock_timestamp() - p_every)
    for update skip locked))
  returning h.tienda_id, h.work, h.since, h.attempts
$$;

-- Does the work on a store that was held up, waiting for a lock for long enough that somebody can look who
-- has it. Errors: 55P03 when the store still is held up.
create or replace function nexus_engine.try_held_up(p_work text, p_tienda_id uuid) returns void
language plpgsql set lock_timeout = '900ms'
as $$
declare
  until timestamptz;
begin
  if p_work = 'rollups' then
    until := nexus_engine.begin_roll_up();
    if until is not null then
      perform nexus_engine.lock_rollups(array[p_tienda_id]);
      perform nexus_engine.roll_up_isolated(array[p_tienda_id], until, null, null, null);
    end if;
  else
    perform from nexus_engine.refresh_request r
    where r.tienda_id = p_tienda_id and r.status in ('queued', 'running') for update;
    perform nexus_engine.reconcile(null, array[p_tienda_id], now());
  end if;
  perform nexus_engine.forget_held_up(p_work, array[p_tienda_id]);
end;
$$;

-- The sessions that this one waits for. Of sessions of other logins Postgres shows state and since only to
-- members of pg_read_all_stats. Their statements are not shown: they have data in them.
create or replace function nexus_engine.sessions_in_front(p_pid int)
returns table (pid int, login text, application text, state text, since timestamptz)
language sql stable
as $$
  select a.pid, a.usename::text, a.application_name, a.state, a.xact_start
  from pg_catalog.pg_stat_activity a
  where a.pid = any (pg_blocking_pids(p_pid))
  order by a.xact_start, a.pid
$$;
