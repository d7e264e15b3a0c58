-- Held by a living worker's own connection for as long as it lives: Postgres lets go of it when the
-- process is gone.
create or replace function nexus_engine.worker_guard(p_worker text) returns bigint
language sql immutable parallel safe
as $$ select hashtextextended(p_worker, 2) $$;

-- Says that a worker is alive; the first time, and after it was thought dead, enters it.
-- Returns which of its jobs an operator wants ended, and why.
create or replace function nexus_engine.heartbeat(p_worker text, p_host text, p_pid int)
returns table (job_id bigint, reason text) language plpgsql
as $$
begin
  insert into nexus_engine.worker_pool as w (worker, host, pid, started_at, heartbeat_at)
  values (p_worker, p_host, p_pid, clock_timestamp(), clock_timestamp())
  on conflict (worker) do update set heartbeat_at = excluded.heartbeat_at;
  return query
  select c.job_id, c.reason
  from nexus_engine.job_cancellation c
  join graphile_worker._private_jobs j on j.id = c.job_id and j.locked_by = p_worker;
end;
$$;

-- Frees what a worker has locked and does not run any more, by what the ledger says of it: work that
-- was done is done; an attempt that had ended is followed by the next; one that was cut off is lost,
-- and the job runs again. A job that three workers in a row did not survive is set aside as poison.
--   p_running: jobs that it does run, left alone.
--   p_locked_before: jobs taken later are left alone, their attempt may not be known yet.
--   returns each job with its fate: 'completed', 'ended', 'replaced', 'lost' or 'poison'.
-- To be called under the worker's fence. It writes Graphile Worker's private tables:
-- force_unlock_workers knows nothing of attempts.
create or replace function nexus_engine.free_jobs(p_worker text, p_running bigint[], p_locked_before timestamptz)
returns table (job_id bigint, task text, fate text) language plpgsql
as $$
declare
  at timestamptz := clock_timestamp();
  job record;
  run record;
  killed text[];
begin
  for job in
    select j.*, k.identifier
    from graphile_worker._private_jobs j
    join graphile_worker._private_tasks k on k.id = j.task_id
    where j.locked_by = p_worker and j.id <> all (p_running) and j.locked_at < p_locked_before
    order by j.id for update of j
  loop
    job_id := job.id;
    task := job.identifier;
    select r.* into run from nexus_engine.job_run r
    where r.job_id = job.id and r.worker = p_worker and r.started_at >= job.locked_at
    order by r.id desc limit 1;

    if run.outcome = 'succeeded' then
      fate := 'completed';
      delete from graphile_worker._private_jobs j where j.id = job.id;
    elsif run.attempt < job.attempts then
      -- Enqueued again under its key while it ran: the other job does what it was for.
      fate := 'replaced';
      update nexus_engine.job_run r
      set outcome = 'lost', finished_at = at, error_code = 'WORKER_LOST',
        error_message = 'the worker ended while the job ran; a newer job has replaced it'
      where r.id = run.id and r.finished_at is null;
      delete from graphile_worker._private_jobs j where j.id = job.id;
    elsif run.outcome is not null then
      fate := 'ended';
      update graphile_worker._private_jobs j
      set locked_by = null, locked_at = null, last_error = run.error_message,
        run_at = at + nexus_engine.backoff(job.attempts),
        max_attempts = case when run.outcome in ('failed', 'cancelled') then j.attempts else j.max_attempts end
      where j.id = job.id;
    else
      if run.id is null then
        insert into nexus_engine.job_run (
          job_id, task, attempt, max_attempts, payload, queued_at, due_at, started_at, finished_at, outcome,
          error_code, error_message, worker)
        values (
          job.id, job.identifier,
          least(job.attempts, 1 + (select coalesce(max(r.attempt), 0) from nexus_engine.job_run r where r.job_id = job.id)),
          job.max_attempts, nexus_engine.kept_payload(job.payload), job.created_at,
          nexus_engine.due_since(job.run_at, job.created_at),
          job.locked_at, at, 'lost', 'WORKER_LOST', 'the worker ended while the job ran', p_worker);
      else
        update nexus_engine.job_run r
        set outcome = 'lost', finished_at = at, error_code = 'WORKER_LOST',
          error_message = 'the worker ended while the job ran'
        where r.id = run.id;
      end if;
      killed := array(
        select r.worker || ' at ' || nexus_engine.iso_utc(r.finished_at)
        from nexus_engine.job_run r
        where r.job_id = job.id and r.outcome = 'lost'
          and r.id > coalesce((
            select max(other.id) from nexus_engine.job_run other
            where other.job_id = job.id and other.outcome <> 'lost'), 0)
        order by r.id);
      if cardinality(killed) >= 3 then
        fate := 'poison';
        update nexus_engine.job_run r
        set error_code = 'POISON', error_message = 'set aside: these workers did not survive it: ' || array_to_string(killed, ', ')
        where r.id = (select max(last.id) from nexus_engine.job_run last where last.job_id = job.id);
        perform nexus_engine.abandon_request(job.payload, 'LOST');
      else
        fate := 'lost';
      end if;
      -- A lost attempt is not the job's fault: it always has another.
      update graphile_worker._private_jobs j
      set locked_by = null, locked_at = null,
        last_error = (select r.error_message from nexus_engine.job_run r where r.job_id = job.id order by r.id desc limit 1),
        max_attempts = case when fate = 'poison' then j.attempts else nexus_engine.one_attempt_more(j.attempts, j.max_attempts) end,
        run_at = at + interval '1 second' * 4 ^ (cardinality(killed) - 1)
      where j.id = job.id;
    end if;
    if job.job_queue_id is not null then
      update graphile_worker._private_job_queues q set locked_by = null, locked_at = null
      where q.id = job.job_queue_id and q.locked_by = p_worker;
    end if;
    return next;
  end loop;
end;
$$;

-- Frees the jobs of workers that are gone: no heartbeat for p_stale and no guard, or, however alive
-- its connection, no heartbeat for p_frozen. One that may be writing is left alone, see worker_fence.
--   returns what became of each job, see free_jobs.
-- A server that has just started tells nothing about who is gone: every worker lost its connection.
create or replace function nexus_engine.rescue(p_stale interval, p_frozen interval)
returns table (worker text, job_id bigint, task text, fate text) language plpgsql
as $$
declare
  dead nexus_engine.worker_pool;
begin
  if pg_postmaster_start_time() > clock_timestamp() - 2 * p_stale then
    return;
  end if;
  for dead in
    select w.* from nexus_engine.worker_pool w
    where w.heartbeat_at < clock_timestamp() - p_stale order by w.heartbeat_at
  loop
    continue when not pg_try_advisory_xact_lock(nexus_engine.worker_guard(dead.worker))
      and dead.heartbeat_at > clock_timestamp() - p_frozen;
    continue when not pg_try_advisory_xact_lock(nexus_engine.worker_fence(dead.worker));
    -- Now that nobody else can be: is it still dead?
    delete from nexus_engine.worker_pool w
    where w.worker = dead.worker and w.heartbeat_at = dead.heartbeat_at;
    continue when not found;
    return query
    select dead.worker, f.* from nexus_engine.free_jobs(dead.worker, '{}', 'infinity') f;
  end loop;
end;
$$;

-- What a worker does with its own: frees jobs that Postgres gave it and it never got, or whose end it
-- could not write, because a connection broke. See free_jobs. Behind one who waits for the fence the worker's
-- other jobs wait too, so it waits a quarter of a second at most, and only where something is stranded; the
-- next call tries again. Not to wait at all would be never to get it on a worker that is always busy.
create or replace function nexus_engine.free_stranded(p_worker text, p_running bigint[], p_older interval)
returns table (job_id bigint, task text, fate text) language plpgsql
as $$
declare
  -- As old as p_running: a job taken later may run, though it is not among those.
  locked_before timestamptz := clock_timestamp() - p_older;
  usual text := current_setting('lock_timeout');
begin
  if not exists (
    select from graphile_worker._private_jobs j
    where j.locked_by = p_worker and j.id <> all (p_running) and j.locked_at < locked_before
  ) then
    return;
  end if;
  begin
    perform set_config('lock_timeout', '250ms', true);
    perform pg_advisory_xact_lock(nexus_engine.worker_fence(p_worker));
  exception when lock_not_available then
    return;
  end;
  perform set_config('lock_timeout', usual, true);
  return query select f.* from nexus_engine.free_jobs(p_worker, p_running, locked_before) f;
end;
$$;

-- Takes a worker that has stopped off the list, and frees whatever it still holds.
create or replace function nexus_engine.leave(p_worker text)
returns table (job_id bigint, task text, fate text) language plpgsql
as $$
begin
  perform pg_advisory_xact_lock(nexus_engine.worker_fence(p_worker));
  delete from nexus_engine.worker_pool w where w.worker = p_worker;
  return query select f.* from nexus_engine.free_jobs(p_worker, '{}', 'infinity') f;
end;
$$;

-- How long a job waits for its next attempt: e to the power of the attempts, in seconds, as Graphile
-- Worker has it, but never more than ten minutes.
create or replace function nexus_engine.backoff(p_attempts int) returns interval
language sql immutable parallel safe
as $$ select least(exp(least(p_attempts, 10)) * interval '1 second', interval '10 minutes') $$;

-- Brings forward the jobs that failed since p_since and would wait longer than backoff says: Graphile
-- Worker lets its tenth attempt wait for six hours. Returns how many.
create or replace function nexus_engine.cap_backoff(p_since timestamptz) returns int
language plpgsql
as $$
declare
  late bigint[];
begin
  select array_agg(j.id) into late
  from nexus_engine.job_run r
  join graphile_worker._private_jobs j on j.id = r.job_id and j.attempts = r.attempt
  where r.outcome in ('retrying', 'timed_out') and r.attempt >= 6 and r.finished_at > p_since
    and j.locked_at is null and j.run_at > r.finished_at + interval '10 minutes';
  if late is null then
    return 0;
  end if;
  perform graphile_worker.reschedule_jobs(late, run_at => clock_timestamp() + interval '10 minutes');
  return cardinality(late);
end;
$$;
