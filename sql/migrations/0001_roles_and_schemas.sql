-- Roles are cluster-wide: another database of the same cluster may be making them right now.
--   nexus_owner   owns our objects; nobody logs in as it. Its functions enqueue jobs with the rights
--                 of nexus_worker, which it therefore inherits.
--   nexus_worker  the worker's connections.
--   nexus_server  the API's connections: by itself it may do nothing but authenticate; each request
--                 then sets nexus_tienda, or nexus_ops for operators.
do $$
declare
  made text;
begin
  foreach made in array array[
    'create role nexus_owner nologin inherit',
    'create role nexus_worker nologin noinherit',
    'create role nexus_server nologin noinherit',
    'create role nexus_tienda nologin noinherit',
    'create role nexus_ops nologin noinherit',
    'grant nexus_worker to nexus_owner',
    'grant nexus_tienda, nexus_ops to nexus_server'
  ] loop
    begin
      execute made;
    exception when duplicate_object or unique_violation then null;
    end;
  end loop;
  -- A superuser may act as any role; anyone else needs the membership, with the right to set it.
  if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
    grant nexus_owner, nexus_worker, nexus_server, nexus_tienda, nexus_ops to current_user;
  end if;
end $$;

create schema nexus_engine authorization nexus_owner;
create schema nexus_api authorization nexus_owner;

-- Read and written by src/database/migrate.ts: which file ran, with the hash of its text.
create table nexus_engine.migration (
  name text primary key,
  sha256 text not null,
  applied_at timestamptz not null default now()
);
alter table nexus_engine.migration owner to nexus_owner;

-- Graphile Worker's schema and its list of migrations are made here, so that its own migrations,
-- run by nexus_worker, need no right to create schemas in the POS's database.
create schema if not exists graphile_worker authorization nexus_worker;
create table if not exists graphile_worker.migrations (
  id int primary key,
  ts timestamptz default now() not null,
  breaking boolean not null default false
);
alter table graphile_worker.migrations owner to nexus_worker;

grant usage on schema nexus_engine to nexus_worker, nexus_ops;
grant usage on schema nexus_api to nexus_tienda, nexus_ops;
grant usage on schema graphile_worker to nexus_owner, nexus_ops;

-- What the engine may touch of the POS's tables. Never users.hashed_password.
grant usage on schema public to nexus_owner, nexus_worker;
grant select on public.tiendas, public.productos, public.ventas, public.detalles_venta, public.insights
  to nexus_owner, nexus_worker;
grant select (id, email, full_name, rol, is_active, tienda_id) on public.users to nexus_owner;
grant insert, update, delete on public.insights to nexus_owner, nexus_worker;

-- A new function of ours may be executed by nobody until a grant says who.
alter default privileges for role nexus_owner revoke execute on functions from public;
