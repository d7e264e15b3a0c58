-- The fence. Whatever a worker writes for a job, it writes while it holds this lock shared; whoever
-- takes the worker's jobs away holds it alone. So a worker that was thought dead either still writes
-- and is not robbed, or was robbed and can write no more.
create or replace function nexus_engine.worker_fence(p_worker text) returns bigint
language sql immutable parallel safe
as $$ select hashtextextended(p_worker, 1) $$;

-- Begins what a task writes: first statement of each of its transactions.
--   p_timeout_ms: after which Postgres cancels a statement of this transaction.
-- Errors: NX005 when the job was taken away, because the worker did not answer for too long.
create or replace function nexus_engine.begin_work(p_worker text, p_job_id bigint, p_timeout_ms int)
returns void language plpgsql
as $$
begin
  perform pg_advisory_xact_lock_shared(nexus_engine.worker_fence(p_worker));
  -- Not the number of attempts: add_job with the key of a job that runs uses up the others.
  if not exists (
    select from graphile_worker._private_jobs j where j.id = p_job_id and j.locked_by = p_worker
  ) then
    raise exception 'job %: expected to be locked by %, is not any more', p_job_id, p_worker
      using errcode = 'NX005';
  end if;
  perform set_config('statement_timeout', p_timeout_ms::text, true),
    -- A worker that is gone, or its machine, must not keep what it locked.
    set_config('client_connection_check_interval', '250', true),
    set_config('tcp_keepalives_idle', '5', true), set_config('tcp_keepalives_interval', '2', true),
    set_config('tcp_keepalives_count', '3', true),
    -- Nor one that was frozen in the middle.
    set_config('idle_in_transaction_session_timeout', '60000', true);
end;
$$;

-- A payload as the ledger keeps it: whole up to 8 kB, else how it begins, its size and its SHA-256.
create or replace function nexus_engine.kept_payload(p_payload json) returns json
language sql stable parallel safe
as $$
  select case when octet_length(p_payload::text) <= 8192 then p_payload
    else json_build_object('begins', left(p_payload::text, 4096), 'bytes', octet_length(p_payload::text),
      'sha256', encode(sha256(convert_to(p_payload::text, 'UTF8')), 'hex')) end
$$;

-- When a job was due: since it was enqueued, where its run_at is -infinity. Before version 17 Postgres cannot
-- say how late that is.
create or replace function nexus_engine.due_since(p_run_at timestamptz, p_queued_at timestamptz) returns timestamptz
language sql immutable parallel safe
as $$
  select case when isfinite(p_run_at) then p_run_at else p_queued_at end
$$;

-- The number of attempts that gives a job another one; no job can have more than 32,767.
create or replace function nexus_engine.one_attempt_more(p_attempts int, p_max_attempts int) returns int
language sql immutable parallel safe
as $$
  select least(greatest(p_max_attempts, p_attempts + 1), 32767)
$$;

-- Writes what a worker has to tell about its attempts, many at once. One that failed or was cancelled
-- is its job's last; one that a shutdown cut short, or that a suspension refused, does not count. It writes
-- Graphile Worker's private table: there is no public way to say either from inside a running job.
--   p_runs: an array of objects with job and attempt. Of an attempt that is not in the ledger yet also
--   age (ms since it began) and tiendas; of one that is: id. Of one that has ended: outcome, code,
--   message, counts and ended (ms ago). Times are the database's clock. When no answer came and the
--   same is written once more, also again: what was written then is left as it stands.
--   returns the ids under which attempts stand in the ledger, in the order of p_runs; null for an
--   attempt that was taken away, of which nothing is written.
create or replace function nexus_engine.write_job_runs(p_worker text, p_runs json)
returns setof bigint language plpgsql
-- With offset 0: jobs by their ids, one by one. A plan made for a hundred runs reads the whole queue, and
-- is kept for the calls that have one or two.
set enable_seqscan = off
as $$
declare
  at timestamptz := clock_timestamp();
begin
  -- Graphile Worker's own commit of the job's end follows, waits for the disk, and takes this one along.
  perform set_config('synchronous_commit', 'off', true);
  perform pg_advisory_xact_lock_shared(nexus_engine.worker_fence(p_worker));
  return query
  with said as materialized (
    select r.n, t.*
    from json_array_elements(p_runs) with ordinality r (run, n)
    cross join lateral json_to_record(r.run) t (
      id bigint, job bigint, attempt int, age float8, ended float8, tiendas uuid[], outcome text,
      code text, message text, counts jsonb, again boolean)
  ),
  told as materialized (
    select s.n, coalesce(s.id, e.id) as id, s.job, s.attempt, s.tiendas, s.counts, s.code,
      at - s.age * interval '1 ms' as started_at,
      case when s.outcome is not null then at - s.ended * interval '1 ms' end as finished_at,
      -- Enqueued again under its key while it ran: the other job does what it was for, so this one,
      -- which has no attempts left, is not tried again.
      case when j.replaced and s.outcome in ('retrying', 'timed_out') then 'failed' else s.outcome end as outcome,
      case when j.replaced then s.message || '; a newer job has replaced it' else s.message end as message,
      j.replaced and s.outcome in ('retrying', 'timed_out') as dropped,
      j.queued
    from said s
    left join lateral (
      select q.attempts > s.attempt as replaced, q as queued
      from graphile_worker._private_jobs q where q.id = s.job and q.locked_by = p_worker offset 0
    ) j on true
    -- Since the job was taken: given new attempts by an operator, it has one of the same number again.
    -- Only when told to look: for every attempt it would cost a tenth of the write.
    left join lateral (
      select r.id from nexus_engine.job_run r
      where s.again and s.id is null and r.job_id = s.job and r.worker = p_worker
        and r.attempt = s.attempt and r.started_at >= (j.queued).locked_at
      limit 1
    ) e on true
  ),
  opened as (
    insert into nexus_engine.job_run as new (
      job_id, task, attempt, max_attempts, payload, tiendas, queued_at, due_at, started_at, finished_at,
      outcome, error_code, error_message, counts, worker)
    select t.job, k.identifier, t.attempt, (t.queued).max_attempts, nexus_engine.kept_payload((t.queued).payload),
      t.tiendas, (t.queued).created_at, nexus_engine.due_since((t.queued).run_at, (t.queued).created_at), t.started_at, t.finished_at, t.outcome, t.code, t.message,
      t.counts, p_worker
    from told t
    join graphile_worker._private_tasks k on k.id = (t.queued).task_id
    where t.id is null
    returning new.id, new.job_id
  ),
  closed as (
    update nexus_engine.job_run r
    set finished_at = coalesce(r.finished_at, t.finished_at), outcome = t.outcome, error_code = t.code,
      error_message = t.message, counts = t.counts
    from told t
    where t.id is not null and t.outcome is not null and r.id = t.id
      and (r.finished_at is null or r.outcome = t.outcome and r.worker = p_worker)
    returning r.id
  ),
  heard as (
    delete from nexus_engine.job_cancellation c
    using told t where t.outcome is not null and c.job_id = t.job
  ),
  dropped as (
    delete from graphile_worker._private_jobs j using told t where t.dropped and j.id = t.job
  ),
  -- Graphile Worker has no error that means "do not retry", nor one that means "not its fault": that attempt is
  -- given back, so that the next one waits no longer for it.
  reckoned as (
    update graphile_worker._private_jobs j
    set attempts = case when t.outcome = 'retrying' then t.attempt - 1 else j.attempts end,
      max_attempts = case when t.outcome = 'retrying' then j.max_attempts else j.attempts end
    from told t
    where (t.outcome in ('failed', 'cancelled') or t.outcome = 'retrying' and t.code in ('SHUTDOWN', 'SUSPENDED'))
      and t.dropped is not true and j.id = t.job and j.locked_by = p_worker
  )
  select coalesce(o.id, c.id, case when t.outcome is null then t.id end)
  from told t
  left join opened o on t.id is null and o.job_id = t.job
  left join closed c on c.id = t.id
  order by t.n;
end;
$$;
