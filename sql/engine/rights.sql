-- Rights that can only be set once what they are about is there: each start does so after Graphile Worker's
-- migrations. Does nothing where they are set.
-- The queue belongs to nexus_queue. Its functions run as that, whoever calls them, and look for names in
-- Postgres's own schema: a caller needs no right to the tables, and nothing that somebody put into his search
-- path, or into the queue, runs with his rights. The worker has what running jobs needs; to add one it calls
-- add_job as well. The tables come with row level security and no policies, which lets their owner alone see
-- a row. The rights decide instead: a policy for the worker would fail it under row_security = off.
-- Functions of our triggers may be executed by nobody, which no trigger asks for when it fires: on a table of his own,
-- whose columns have types with casts of his own, whoever may would run those with the rights of nexus_owner.
create or replace function nexus_engine.set_rights() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  queue oid := to_regnamespace('graphile_worker');
  it record;
begin
  for it in
    select format('alter function %s security definer set search_path = pg_catalog, pg_temp', f.oid::regprocedure) as statement
    from pg_proc f
    where f.pronamespace = queue and f.proowner = 'nexus_queue'::regrole
      and not (f.prosecdef and coalesce('search_path=pg_catalog, pg_temp' = any (f.proconfig), false))
    union all
    select format('revoke execute on function %s from public', f.oid::regprocedure) from pg_proc f
    where f.pronamespace = queue and f.proowner = 'nexus_queue'::regrole
      and has_function_privilege('public', f.oid, 'execute')
    union all
    select format('grant execute on function %s to nexus_worker', f.oid::regprocedure) from pg_proc f
    where f.pronamespace = queue and f.proname in ('add_job', 'add_jobs', 'complete_jobs', 'reschedule_jobs')
      and (has_function_privilege('public', f.oid, 'execute') or not has_function_privilege('nexus_worker', f.oid, 'execute'))
    union all
    select format('alter table %s disable row level security', c.oid::regclass) from pg_class c
    where c.relnamespace = queue and c.relrowsecurity
    union all
    select format('grant %s on %s to nexus_worker', wanted.privilege, c.oid::regclass)
    from (values
      ('migrations', array['select']),
      ('_private_tasks', array['select', 'insert']),
      ('_private_job_queues', array['select', 'update']),
      ('_private_jobs', array['select', 'update', 'delete']),
      ('_private_known_crontabs', array['select', 'insert', 'update']),
      ('jobs', array['select'])
    ) rights (relation, privileges)
    cross join lateral unnest(rights.privileges) wanted (privilege)
    join pg_class c on c.relnamespace = queue and c.relname = rights.relation
    where not has_table_privilege('nexus_worker', c.oid, wanted.privilege)
    union all
    select format('revoke execute on function %s from nexus_worker', f.oid::regprocedure) from pg_proc f
    where f.pronamespace = 'nexus_engine'::regnamespace and f.prorettype = 'trigger'::regtype
      and has_function_privilege('nexus_worker', f.oid, 'execute')
  loop
    execute it.statement;
  end loop;
end;
$$;

-- The list of sql/pos/rights.sql.
create or replace function nexus_engine.pos_rights()
returns table (role text, relation text, privilege text, columns text[])
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return query execute (select m.text from nexus_engine.migration m where m.name = 'pos/rights.sql');
end;
$$;

-- What our roles lack on the POS's tables, as statements: a table or a column that was made anew has no grants.
create or replace function nexus_engine.missing_grants() returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format('grant usage on schema public to %I', r) from unnest(array['nexus_owner', 'nexus_worker']) r
  where not has_schema_privilege(r, 'public', 'usage')
  union all
  select format('grant %s on public.%I to %I',
    w.privilege || coalesce(' (' || array_to_string(w.columns, ', ') || ')', ''), w.relation, w.role)
  from nexus_engine.pos_rights() w
  where case when w.columns is null then not has_table_privilege(w.role, 'public.' || w.relation, w.privilege)
    else exists (
      select from unnest(w.columns) c where not has_column_privilege(w.role, 'public.' || w.relation, c, w.privilege)) end
$$;

-- Errors: 42501 with the statements, where the caller may not give them.
create or replace function nexus_engine.grant_pos_tables() returns void
language plpgsql set search_path = pg_catalog, pg_temp set client_min_messages = error
as $$
declare
  lacking text;
begin
  for lacking in select g from nexus_engine.missing_grants() g loop
    begin
      execute lacking;
    exception when insufficient_privilege then
      exit;
    end;
  end loop;
  -- Who may grant nothing of it gets a warning.
  select string_agg(g || ';', e'\n  ') into lacking from nexus_engine.missing_grants() g;
  if lacking is not null then
    raise exception e'our roles lack rights on the tables of the POS; have their owner run:\n  %', lacking
      using errcode = '42501';
  end if;
end;
$$;

revoke execute on function nexus_engine.set_rights() from nexus_worker;
-- Here as well: a worker of the release before never finds the queue without these rights.
select nexus_engine.set_rights();
