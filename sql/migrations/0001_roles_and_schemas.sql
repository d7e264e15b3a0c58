-- Roles are cluster-wide: another database of the same cluster may be making them right now.
--   nexus_owner   owns our objects; nobody logs in as it. Its functions enqueue jobs with the rights
--                 of nexus_worker, which it therefore inherits.
--   nexus_worker  the worker's connections.
--   nexus_server  the API's connections: by itself it may do nothing but authenticate; each request
--                 then sets nexus_tienda, or nexus_ops for operators.
-- What is there already is left as it is: a DBA may have made it for a login that may make nothing, and
-- since PostgreSQL 16 only who has a role WITH ADMIN OPTION may grant it. What the login lacks is told before
-- anything of this runs (src/database/rights.ts).
do $$
declare
  -- Since PostgreSQL 16 a membership may come without the right to act as the role.
  act text := case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end;
  made record;
begin
  for made in values ('nexus_owner', 'inherit'), ('nexus_worker', 'noinherit'), ('nexus_server', 'noinherit'),
    ('nexus_tienda', 'noinherit'), ('nexus_ops', 'noinherit')
  loop
    begin
      if not exists (select from pg_catalog.pg_roles where rolname = made.column1) then
        execute format('create role %I nologin %s', made.column1, made.column2);
      end if;
    exception when duplicate_object or unique_violation then null;
    end;
  end loop;
  -- A superuser may act as any role; anyone else needs the membership.
  for made in values ('nexus_worker', 'nexus_owner', true), ('nexus_tienda', 'nexus_server', false),
    ('nexus_ops', 'nexus_server', false), ('nexus_owner', current_user, true), ('nexus_server', current_user, false)
  loop
    begin
      if not pg_has_role(made.column2, made.column1, act)
        or made.column3 and not pg_has_role(made.column2, made.column1, 'usage')
      then
        execute format('grant %I to %I', made.column1, made.column2);
      end if;
    -- Without nexus_server a login still migrates: the API may have one of its own.
    exception when duplicate_object or unique_violation then null;
      when insufficient_privilege then
        if made.column1 <> 'nexus_server' then raise; end if;
    end;
  end loop;
end $$;

create schema nexus_engine authorization nexus_owner;
create schema nexus_api authorization nexus_owner;

-- Each table is made by its owner: the login's default privileges, such as Supabase's, are not ours.
set local role nexus_owner;

-- Read and written by src/database/migrate.ts: which file ran, with the hash of its text.
create table nexus_engine.migration (
  name text primary key,
  sha256 text not null,
  applied_at timestamptz not null default now()
);

reset role;

-- Graphile Worker's schema and its list of migrations are made here, so that its own migrations,
-- run by nexus_worker, need no right to create schemas in the POS's database.
create schema if not exists graphile_worker authorization nexus_worker;
set local role nexus_worker;
create table if not exists graphile_worker.migrations (
  id int primary key,
  ts timestamptz default now() not null,
  breaking boolean not null default false
);
reset role;

grant usage on schema nexus_engine to nexus_worker, nexus_ops;
grant usage on schema nexus_api to nexus_tienda, nexus_ops;
grant usage on schema graphile_worker to nexus_owner, nexus_ops;

-- Our views name the POS's tables. What we may do with those is granted after the migrations, by
-- nexus_engine.grant_pos_tables(). Where the login may not grant it, a DBA has.
do $$
begin
  if has_schema_privilege('public', 'usage with grant option') then
    grant usage on schema public to nexus_owner, nexus_worker;
  end if;
end $$;

-- A new function of ours may be executed by nobody until a grant says who.
alter default privileges for role nexus_owner revoke execute on functions from public;
