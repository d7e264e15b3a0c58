-- Makes the attempt that is running the job's last one. Graphile Worker has no error that means
-- "do not retry"; its table is private, so this one statement is the only one that touches it.
create or replace function nexus_engine.give_up(p_job_id bigint)
returns void language sql
as $$
  update graphile_worker._private_jobs set max_attempts = attempts where id = p_job_id
$$;
