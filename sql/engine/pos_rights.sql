-- What our roles may do with the POS's tables: granted by each start and by attach(), taken away by npm run detach.

-- The whole of it, a statement a table: never users.hashed_password. The only list there is. src/database/grants.ts
-- reads it in this file, for whom it has to be shown before there is anything of ours in a database.
create or replace function nexus_engine.pos_grants() returns setof text
language sql immutable parallel safe rows 10
as $$
  select unnest(array[
    'grant usage on schema public to nexus_owner, nexus_worker',
    'grant select on public.tiendas to nexus_owner, nexus_worker',
    'grant select on public.productos to nexus_owner, nexus_worker',
    'grant select on public.ventas to nexus_owner, nexus_worker',
    'grant select on public.detalles_venta to nexus_owner, nexus_worker',
    'grant select, insert, update, delete on public.insights to nexus_owner, nexus_worker',
    'grant select (id, is_active, tienda_id) on public.users to nexus_owner'
  ])
$$;

-- Those of which something lacks.
create or replace function nexus_engine.missing_pos_grants() returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select g.statement
  from nexus_engine.pos_grants() g (statement)
  cross join lateral regexp_match(g.statement, '^grant ([^(]+?)(?: \((.+)\))? on (schema )?(\S+) to (.+)$') as m
  where exists (
    select from string_to_table(m[1], ', ') privilege, string_to_table(m[5], ', ') role
    where not case
      when m[3] is not null then has_schema_privilege(role, m[4], privilege)
      when m[2] is null then has_table_privilege(role, m[4], privilege)
      else (select bool_and(has_column_privilege(role, m[4], c, privilege)) from string_to_table(m[2], ', ') c)
    end)
$$;

-- Grants what lacks; does nothing where all is there. By an owner of the POS's tables: POS migrations that make a table
-- anew take our rights away with the old one.
-- Errors: NX003, with the statements that somebody else has to execute.
create or replace function nexus_engine.grant_pos_rights() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  it text;
  missing text;
begin
  for it in select nexus_engine.missing_pos_grants() loop
    begin
      execute it;
    exception when insufficient_privilege then
      null;  -- Told below, with those that Postgres refused by a warning.
    end;
  end loop;
  select string_agg('  ' || m || ';', e'\n') into missing from nexus_engine.missing_pos_grants() m;
  if missing is not null then
    raise exception 'the login "%" may not give our roles what they need of the POS''s tables: have the owner of these execute%',
      current_user, e'\n' || missing using errcode = 'NX003';
  end if;
end;
$$;
revoke execute on function nexus_engine.grant_pos_rights() from nexus_worker;
