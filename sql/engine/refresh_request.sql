-- Asks for a refresh of one store, now and before scheduled work, in the caller's transaction: a
-- rollback takes request and job back. While a request of the store is queued, returns that one,
-- raised to force if this call asks for it.
--   p_requested_by: users.id, or null for a script.
--   p_force: also forget what the owner dismissed, see nexus_engine.forget_dismissals.
-- Errors: NX001 when the store does not exist or is not active.
create or replace function nexus_engine.request_refresh(
  p_tienda_id uuid, p_requested_by uuid default null, p_force boolean default false
) returns nexus_engine.refresh_request
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  request nexus_engine.refresh_request;
  needs_job boolean;
begin
  if not exists (select from public.tiendas t where t.id = p_tienda_id and t.is_active) then
    raise exception 'tienda_id: expected the id of an active store, got %', quote_nullable(p_tienda_id)
      using errcode = 'NX001', column = 'tienda_id';
  end if;
  loop
    insert into nexus_engine.refresh_request (tienda_id, requested_by, force)
    values (p_tienda_id, p_requested_by, coalesce(p_force, false))
    on conflict (tienda_id) where status = 'queued' do nothing
    returning * into request;
    needs_job := found;
    exit when needs_job;

    if p_force then
      update nexus_engine.refresh_request r set force = true
      where r.tienda_id = p_tienda_id and r.status = 'queued' returning * into request;
    else
      select * into request from nexus_engine.refresh_request r
      where r.tienda_id = p_tienda_id and r.status = 'queued';
    end if;
    -- Its job may have failed for good, or been deleted by an operator.
    needs_job := not exists (
      select from graphile_worker.jobs j
      where j.key = 'refresh_request:' || request.id and j.attempts < j.max_attempts);
    -- Not found: a worker took it up in between, so this call makes the next one.
    exit when request.id is not null;
  end loop;

  if needs_job then
    -- The key: a second job of the same request replaces the first, if that still waits.
    perform graphile_worker.add_job(
      'refresh_stores',
      json_build_object('tiendas', array[p_tienda_id], 'request_id', request.id),
      max_attempts => 5, priority => -10, job_key => 'refresh_request:' || request.id);
  end if;
  return request;
end;
$$;

-- Marks a request as running, in a transaction of its own so that its owner sees it. Null when the
-- request does not exist or has ended, as when a job runs a second time.
create or replace function nexus_engine.start_request(p_request_id uuid)
returns nexus_engine.refresh_request language sql set lock_timeout = '200ms'
as $$
  update nexus_engine.refresh_request
  set status = 'running', started_at = coalesce(started_at, now())
  where id = p_request_id and status in ('queued', 'running')
  returning *
$$;

-- Ends a request: succeeded with the counts of each type, or failed with a code and a message.
create or replace function nexus_engine.finish_request(
  p_request_id uuid, p_counts jsonb, p_error_code text default null, p_error_message text default null
) returns void language sql set lock_timeout = '200ms'
as $$
  update nexus_engine.refresh_request
  set status = case when p_error_code is null then 'succeeded' else 'failed' end,
    counts = p_counts, error_code = p_error_code, error_message = p_error_message, finished_at = now()
  where id = p_request_id and status in ('queued', 'running')
$$;

-- What `force` means: whatever the owner dismissed and still holds is told again by the reconcile that
-- follows, which also adopts what others wrote. Summaries of periods that the engine told stay as they are.
create or replace function nexus_engine.forget_dismissals(p_tiendas uuid[], p_as_of timestamptz)
returns void language plpgsql set search_path = pg_catalog, pg_temp set row_security = off
as $$
begin
  -- The reconciler's own locks, taken before its memory is touched.
  perform nexus_engine.lock_stores(p_tiendas);
  perform nexus_engine.forget_told(p_tiendas);

  delete from nexus_engine.open_insight o
  using nexus_engine.insight_type it
  where o.tienda_id = any (p_tiendas) and it.tipo = o.tipo and it.kind = 'state'
    and not exists (select from public.insights i where i.id = o.insight_id and i.is_active);
end;
$$;

-- Whatever changes a request tells those who watch it, on the channel of its store. An insert tells
-- nobody: who could wait for an id that was not there?
create or replace function nexus_engine.announce_request() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_catalog.pg_notify('nexus_store:' || new.tienda_id, json_build_object('request', new.id)::text);
  return null;
end;
$$;
create or replace trigger announce_request
after update on nexus_engine.refresh_request
for each row when (old.* is distinct from new.*)
execute function nexus_engine.announce_request();
