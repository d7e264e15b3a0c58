-- The queue belonged to nexus_worker, whose rights every connection of the worker has: with those one could put a
-- trigger on its tables, or change add_job, and have that run as whoever enqueues. Now it belongs to
-- nexus_queue, as which nobody logs in and which owns nothing else. nexus_owner is a member of it, so that
-- who may act as nexus_owner, such as the login of the migrations, needs no grant of his own. nexus_owner stays a
-- member of nexus_worker: roles are the cluster's, and another database of it may not be migrated yet.
do $$
begin
  -- Made by a DBA, or by another database of the cluster: since PostgreSQL 16 only who has made a role may grant it.
  if not exists (select from pg_catalog.pg_roles where rolname = 'nexus_queue') then
    begin
      create role nexus_queue nologin noinherit;
    exception when duplicate_object or unique_violation then null;
    end;
  end if;
  if not pg_has_role('nexus_owner', 'nexus_queue', 'usage') then
    begin
      grant nexus_queue to nexus_owner;
    exception when duplicate_object or unique_violation then null;
    end;
  end if;
end $$;

alter schema graphile_worker owner to nexus_queue;
alter table graphile_worker.migrations owner to nexus_queue;
grant usage on schema graphile_worker to nexus_worker, nexus_owner;
alter default privileges for role nexus_queue revoke execute on functions from public;

-- What Graphile Worker has made until now; on a new database nothing yet. By name, so that what else there may
-- be does not get the rights of nexus_queue. It has no triggers and no rules.
do $$
declare
  queue oid := 'graphile_worker'::regnamespace;
  it record;
begin
  for it in
    select c.oid::regclass as relation, c.relkind from pg_class c
    where c.relnamespace = queue and c.relname in
      ('_private_jobs', '_private_job_queues', '_private_tasks', '_private_known_crontabs', 'jobs')
  loop
    execute format('alter %s %s owner to nexus_queue', case it.relkind when 'v' then 'view' else 'table' end, it.relation);
  end loop;
  for it in
    select format('alter function %s owner to nexus_queue', f.oid::regprocedure) as statement from pg_proc f
    where f.pronamespace = queue and f.proname in
      ('add_job', 'add_jobs', 'complete_jobs', 'force_unlock_workers', 'permanently_fail_jobs', 'remove_job', 'reschedule_jobs')
    union all
    select 'alter type graphile_worker.job_spec owner to nexus_queue' from pg_class c
    where c.relnamespace = queue and c.relname = 'job_spec'
    union all
    select format('drop trigger %I on %s', t.tgname, t.tgrelid::regclass) from pg_trigger t
    join pg_class c on c.oid = t.tgrelid
    where c.relnamespace = queue and not t.tgisinternal
    union all
    select format('drop rule %I on %s', r.rulename, r.ev_class::regclass) from pg_rewrite r
    join pg_class c on c.oid = r.ev_class
    where c.relnamespace = queue and r.rulename <> '_RETURN'
  loop
    execute it.statement;
  end loop;
end $$;

-- attach() makes the triggers of the tickets with the rights of whoever calls it. Only that on the stock is ever
-- made anew by nexus_owner, and only while attached.
revoke trigger on public.ventas, public.detalles_venta from nexus_owner;
do $$
begin
  if exists (select from nexus_engine.detached) then
    revoke trigger on public.productos from nexus_owner;
  end if;
end $$;
