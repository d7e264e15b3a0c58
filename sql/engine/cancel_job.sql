-- Ends the request that a job served, if it served one, for its owner to see.
create or replace function nexus_engine.abandon_request(p_payload json, p_code text)
returns void language plpgsql
as $$
declare
  request text := case when json_typeof(p_payload) = 'object' then p_payload ->> 'request_id' end;
begin
  if request ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
    perform nexus_engine.finish_request(request::uuid, null, p_code,
      'No se pudo actualizar. Volvé a intentarlo en unos minutos.');
  end if;
end;
$$;

-- Ends a job for good, on an operator's word: one that waits is never run, one that runs is stopped
-- within a second or two, its SQL as well, and what it had not committed is gone. The job stays in
-- graphile_worker.jobs as failed, with the reason; reschedule_jobs gives it new attempts.
--   returns 'cancelled', 'cancelling' when a worker has to be told first, or 'not found'.
-- Errors: NX001 when there is no reason.
create or replace function nexus_engine.cancel_job(p_job_id bigint, p_reason text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  job record;
begin
  if coalesce(btrim(p_reason), '') = '' then
    raise exception 'reason: expected why the job is cancelled, got %', pg_catalog.quote_nullable(p_reason)
      using errcode = 'NX001', column = 'reason';
  end if;
  select j.*, k.identifier into job
  from graphile_worker._private_jobs j
  join graphile_worker._private_tasks k on k.id = j.task_id
  where j.id = p_job_id and j.attempts < j.max_attempts or j.id = p_job_id and j.locked_at is not null
  for update of j;
  if job.id is null then
    return 'not found';
  end if;
  if job.locked_at is not null then
    insert into nexus_engine.job_cancellation (job_id, reason) values (p_job_id, p_reason)
    on conflict (job_id) do update set reason = excluded.reason;
    perform pg_catalog.pg_notify('nexus_cancel', p_job_id::text);
    return 'cancelling';
  end if;
  perform graphile_worker.permanently_fail_jobs(array[p_job_id], 'cancelled: ' || p_reason);
  insert into nexus_engine.job_run (
    job_id, task, attempt, max_attempts, payload, queued_at, due_at, finished_at, outcome, error_code, error_message)
  values (
    job.id, job.identifier, job.attempts + 1, job.max_attempts, nexus_engine.kept_payload(job.payload), job.created_at,
    job.run_at, pg_catalog.clock_timestamp(), 'cancelled', 'CANCELLED', left(p_reason, 4000));
  perform nexus_engine.abandon_request(job.payload, 'CANCELLED');
  return 'cancelled';
end;
$$;
grant execute on function nexus_engine.cancel_job(bigint, text) to nexus_ops;
