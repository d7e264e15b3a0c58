-- Makes the attempt that is running the job's last one. Called by workers of the release before, which
-- may run during a deploy; those of now leave that to write_job_runs.
create or replace function nexus_engine.give_up(p_job_id bigint)
returns void language sql
as $$
  update graphile_worker._private_jobs set max_attempts = attempts where id = p_job_id
$$;
