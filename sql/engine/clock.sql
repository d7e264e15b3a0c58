-- The clocks of the workers' machines, and what a wrong one leaves behind.

-- Whether it is this session's turn to look after something: once every p_every, whichever worker comes first.
--   last_at, last_xid: of the look before, null when there was none; next_xid: of this one. See nexus_engine.look.
create or replace function nexus_engine.take_look(
  p_what text, p_every interval,
  out taken boolean, out last_at timestamptz, out last_xid xid8, out next_xid xid8
) language plpgsql
as $$
begin
  insert into nexus_engine.look (what, looked_at) values (p_what, '-infinity') on conflict do nothing;
  select nullif(l.looked_at, '-infinity'), l.next_xid into last_at, last_xid
  from nexus_engine.look l
  where l.what = p_what and (l.looked_at <= now() - p_every or l.looked_at > now() + interval '1 minute')
  for update skip locked;
  taken := found;
  if taken then
    next_xid := pg_snapshot_xmax(pg_current_snapshot());
    update nexus_engine.look l set looked_at = now(), next_xid = take_look.next_xid where l.what = p_what;
  end if;
end;
$$;

-- Notes that a worker takes no work because its machine's clock is p_ahead_ms ahead of ours; null: it is not
-- any more.
create or replace function nexus_engine.note_worker_clock(p_host text, p_pid int, p_ahead_ms bigint) returns void
language plpgsql
as $$
begin
  -- Also of those that ended so.
  delete from nexus_engine.worker_clock w
  where w.noted_at < now() - interval '1 minute' or p_ahead_ms is null and (w.host, w.pid) = (p_host, p_pid);
  insert into nexus_engine.worker_clock as w (host, pid, ahead_ms, noted_at)
  select p_host, p_pid, p_ahead_ms, clock_timestamp() where p_ahead_ms is not null
  on conflict (host, pid) do update set ahead_ms = excluded.ahead_ms, noted_at = excluded.noted_at;
end;
$$;

-- Sets right what a worker whose clock was ahead left behind: a schedule that seems to have run in the future
-- would not run until then, and its jobs wait until then. The schedule goes on with its next tick; of its
-- jobs that wait for the future one is run now, the others are removed, because ticks do not add up.
--   returns the schedules that were set right, by their ids in the crontab, or the tasks of such jobs: when
--   the schedule had run, null if it had not; how many jobs.
-- It writes Graphile Worker's private tables: nothing else can set a schedule back.
create or replace function nexus_engine.mend_schedules()
returns table (schedule text, ran_at timestamptz, jobs int) language plpgsql
as $$
declare
  -- A worker whose clock is as good as we ask for is seconds ahead at most.
  future timestamptz := now() + interval '1 minute';
  waiting bigint[];
begin
  for schedule, ran_at in
    select c.identifier, c.last_execution from graphile_worker._private_known_crontabs c
    where c.last_execution > future or c.known_since > future
    order by c.identifier for update
  loop
    update graphile_worker._private_known_crontabs c
    set last_execution = case when c.last_execution > future then date_trunc('minute', now() - interval '1 minute') else c.last_execution end,
      known_since = least(c.known_since, now())
    where c.identifier = schedule;
    jobs := 0;
    return next;
  end loop;
  ran_at := null;
  for schedule, waiting in
    select k.identifier, array_agg(j.id order by j.run_at, j.id)
    from graphile_worker._private_jobs j
    join graphile_worker._private_tasks k on k.id = j.task_id
    -- Only cron dates a job by its tick; one that is tried again later has attempts.
    where j.run_at > future and j.attempts = 0 and j.locked_at is null
      and case when json_typeof(j.payload) = 'object' then json_typeof(j.payload -> '_cron') = 'object' end
    group by k.identifier order by k.identifier
  loop
    perform graphile_worker.reschedule_jobs(waiting[1:1], run_at => now());
    perform graphile_worker.complete_jobs(waiting[2:]);
    jobs := cardinality(waiting);
    return next;
  end loop;
end;
$$;

-- Jobs that have been due for a minute or more, and whose task is none of p_tasks.
create or replace function nexus_engine.jobs_without_task(p_tasks text[])
returns table (task text, due_at timestamptz) language sql stable
as $$
  select k.identifier, greatest(j.run_at, j.created_at)
  from graphile_worker._private_tasks k
  join graphile_worker._private_jobs j on j.task_id = k.id
  where k.identifier <> all (p_tasks) and j.attempts < j.max_attempts and j.locked_at is null
    and j.run_at <= now() - interval '1 minute'
$$;

-- The same by task, how many and since when the oldest is due: once an hour, whichever worker comes first.
create or replace function nexus_engine.tell_jobs_without_task(p_tasks text[])
returns table (task text, jobs int, oldest timestamptz) language plpgsql
as $$
begin
  -- The hour begins when there is something to say.
  if exists (select from nexus_engine.jobs_without_task(p_tasks))
    and (select t.taken from nexus_engine.take_look('jobs without a task', '1 hour') t) then
    return query
    select w.task, count(*)::int, min(w.due_at) from nexus_engine.jobs_without_task(p_tasks) w
    group by w.task order by w.task;
  end if;
end;
$$;
