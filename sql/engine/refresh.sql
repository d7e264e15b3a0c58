-- What the task refresh_stores does for many stores, of which none waits for another.

-- Reconciles those of these stores that nobody else is working on, in the caller's transaction.
--   p_tipos, p_tiendas, p_as_of: see nexus_engine.reconcile; p_force: see nexus_engine.forget_dismissals.
--   returns what was done, by type an object of what reconcile counts; the stores to be tried again in a
--     moment, because somebody else is reconciling them, or others are held up; and those of which another
--     session keeps rows locked.
-- Errors: those of reconcile and of nexus_engine.for_stores.
create or replace function nexus_engine.refresh_available(
  p_tipos text[], p_tiendas uuid[], p_force boolean, p_as_of timestamptz,
  out counts jsonb, out busy uuid[], out held_up uuid[]
) language plpgsql set row_security = off
as $$
declare
  put_back uuid[] := nexus_engine.put_back('refresh', p_tiendas);
  wanted uuid[] := array(select t from unnest(p_tiendas) t where t <> all (put_back));
  free uuid[];
  done record;
begin
  perform nexus_engine.require_read_committed('refresh_available');
  free := nexus_engine.try_lock_stores(wanted);
  busy := array(select t from unnest(wanted) t where t <> all (free));
  select f.* into done
  from nexus_engine.for_stores('refresh',
    format('select nexus_engine.refresh_locked(%L, %L, $1, $2)', p_tipos, coalesce(p_force, false)), free, p_as_of) f;
  held_up := put_back || done.held_up;
  busy := busy || done.unfinished;
  counts := coalesce((
    select jsonb_object_agg(c.tipo, c.counts)
    from (
      select e.tipo, jsonb_build_object('inserted', sum(n.inserted), 'updated', sum(n.updated),
        'archived', sum(n.archived), 'failed', sum(n.failed)) as counts
      from unnest(done.results) r
      cross join lateral jsonb_each(r) e (tipo, counts)
      cross join lateral jsonb_to_record(e.counts) n (inserted int, updated int, archived int, failed int)
      group by e.tipo
    ) c), '{}');
end;
$$;

-- refresh_available of stores whose locks the caller has taken in an earlier statement.
create or replace function nexus_engine.refresh_locked(
  p_tipos text[], p_force boolean, p_tiendas uuid[], p_as_of timestamptz
) returns jsonb language plpgsql
as $$
begin
  if p_force then
    perform nexus_engine.forget_dismissals(p_tiendas, p_as_of);
  end if;
  return (
    select jsonb_object_agg(r.tipo, to_jsonb(r) - 'tipo')
    from nexus_engine.reconcile(p_tipos, p_tiendas, p_as_of) r);
end;
$$;

-- Locks those of these stores that no other reconciler has locked, see lock_stores, and returns them.
create or replace function nexus_engine.try_lock_stores(p_tiendas uuid[]) returns uuid[]
language plpgsql
as $$
begin
  return array(
    select t from unnest(p_tiendas) with ordinality u (t, n)
    where pg_try_advisory_xact_lock(nexus_engine.store_lock(t)) order by n);
end;
$$;

-- Enqueues refresh_stores again for these stores, which it could not refresh: each by itself, when its
-- time has come (see nexus_engine.note_held_up). A job that waits already for the same is replaced.
--   p_payload: that of the job. Its request goes with the store that it is of.
create or replace function nexus_engine.put_back_refresh(p_payload jsonb, p_tiendas uuid[]) returns void
language plpgsql
as $$
declare
  request nexus_engine.refresh_request;
begin
  perform nexus_engine.note_held_up('refresh', p_tiendas);
  select r.* into request from nexus_engine.refresh_request r where r.id = (p_payload ->> 'request_id')::uuid;
  perform graphile_worker.add_jobs(array(
    select row(
      'refresh_stores',
      (p_payload - array(select 'request_id' where not is_request) || jsonb_build_object('tiendas', array[t]))::json,
      null,
      coalesce(
        (select h.retry_at from nexus_engine.store_held_up h where h.tienda_id = t and h.work = 'refresh'),
        clock_timestamp() + interval '1 second'),
      5,
      case when is_request then 'refresh_request:' || request.id
        else concat_ws(':', 'held_up', t, md5(concat_ws(' ', p_payload -> 'tipos', p_payload -> 'force'))) end,
      case when is_request then -10 else 0 end,
      null
    )::graphile_worker.job_spec
    from unnest(p_tiendas) t
    cross join lateral (select t is not distinct from request.tienda_id as is_request) r));
end;
$$;
