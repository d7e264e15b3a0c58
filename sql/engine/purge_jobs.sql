-- Trims the ledger: at most p_limit rows in one call, the oldest first; the task calls it until it
-- returns zero. Also deletes jobs that failed for good and are as old: the ledger told of them.
--   p_keep: how long the end of an attempt is remembered; p_rows: how many at most, whatever their age.
--   returns rows deleted.
create or replace function nexus_engine.purge_jobs(p_as_of timestamptz, p_keep interval, p_rows bigint, p_limit int)
returns int language plpgsql
as $$
declare
  -- Ids are as old as their rows, so the count needs no look at the table.
  newest bigint := (select max(r.id) from nexus_engine.job_run r);
  failed bigint[];
  deleted int;
begin
  delete from nexus_engine.job_run r
  where r.id in (
    select o.id from nexus_engine.job_run o
    where o.finished_at < p_as_of - p_keep or o.finished_at is not null and o.id <= newest - p_rows
    order by o.id limit p_limit);
  get diagnostics deleted = row_count;

  failed := array(
    select j.id from graphile_worker.jobs j
    where j.attempts >= j.max_attempts and j.locked_at is null and j.updated_at < p_as_of - p_keep
      and j.run_at < p_as_of - p_keep
    order by j.id limit p_limit);
  if cardinality(failed) > 0 then
    perform graphile_worker.complete_jobs(failed);
  end if;
  return deleted + cardinality(failed);
end;
$$;
