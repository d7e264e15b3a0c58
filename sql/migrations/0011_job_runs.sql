set local role nexus_owner;

-- The ledger: one row for every attempt of every job, also of those that ended with their worker.
-- Written in batches by the worker (nexus_engine.write_job_runs); what a worker left open when it
-- died is closed by whoever rescues its jobs (nexus_engine.free_jobs).
create table nexus_engine.job_run (
  id bigint generated always as identity primary key,
  job_id bigint not null,
  task text not null,
  attempt integer not null,
  max_attempts integer not null,
  -- As it was enqueued, text and all: jsonb would refuse what json accepts.
  payload json,
  -- The stores that it was for, where the payload names them.
  tiendas uuid[],
  -- When it was enqueued, when it was meant to run, when it did; null when it was cancelled before.
  queued_at timestamptz not null,
  due_at timestamptz not null,
  started_at timestamptz,
  finished_at timestamptz,
  -- Null while it runs. Whether a timed out or lost job runs again is told by its next row.
  outcome text check (outcome in ('succeeded', 'failed', 'retrying', 'timed_out', 'cancelled', 'lost')),
  -- A SQLSTATE, a code of Node, or one of ours; see sql/README.md.
  error_code text,
  error_message text,
  -- What the task says that it did.
  counts jsonb,
  -- Graphile Worker's id of the pool that ran it; null when none did.
  worker text,
  lateness interval generated always as (started_at - due_at) stored,
  check ((outcome is null) = (finished_at is null))
);
create index job_run_job on nexus_engine.job_run (job_id);
-- A job runs once at a time, whatever happens to its workers.
create unique index job_run_running on nexus_engine.job_run (job_id) where finished_at is null;
-- The retries whose back-off may be longer than anyone wants to wait, see nexus_engine.cap_backoff.
create index job_run_patient on nexus_engine.job_run (finished_at) where outcome in ('retrying', 'timed_out') and attempt >= 6;

-- The workers that are alive, or were until a moment ago.
create table nexus_engine.worker_pool (
  worker text primary key,
  host text not null,
  pid integer not null,
  started_at timestamptz not null,
  heartbeat_at timestamptz not null
) with (fillfactor = 50);

-- What operators want ended, until the worker that runs it has heard.
create table nexus_engine.job_cancellation (
  job_id bigint primary key,
  reason text not null,
  requested_at timestamptz not null default now()
);

grant select, insert, update, delete on nexus_engine.job_run, nexus_engine.worker_pool, nexus_engine.job_cancellation to nexus_worker;
grant select on nexus_engine.job_run, nexus_engine.worker_pool, nexus_engine.job_cancellation to nexus_ops;
-- Operators see the ledger and may cancel; every other object of the schema is closed to them.
grant usage on schema nexus_engine to nexus_ops;
