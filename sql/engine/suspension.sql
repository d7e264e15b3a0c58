-- Whether the engine may work now. It may not while it is detached, or while it cannot see all of the POS's
-- rows: it would take what it does not see for gone. Nothing here reads a view, because those may be away.

-- The POS's tables of which row level security hides rows from one of our roles, or would if our sessions were
-- not refused them instead (row_security = off). A policy does not help there: only what takes the role out of
-- row level security does, that is BYPASSRLS, or the rights of the table's owner where it is not forced on him.
create or replace function nexus_engine.hidden_tables() returns table (relation regclass, reader name)
language sql stable
as $$
  select c.oid::regclass, r.rolname
  from pg_catalog.pg_class c
  -- Users are no business of the worker's.
  join pg_catalog.pg_roles r on r.rolname = 'nexus_owner' or r.rolname = 'nexus_worker' and c.relname <> 'users'
  where c.relnamespace = 'public'::regnamespace
    and c.relname in ('tiendas', 'users', 'productos', 'ventas', 'detalles_venta', 'insights')
    and c.relrowsecurity and not r.rolsuper and not r.rolbypassrls
    and (c.relforcerowsecurity or not pg_catalog.pg_has_role(r.oid, c.relowner, 'usage'))
$$;

-- The POS's tables and the tables and views of ours that are not there: dropped by hand, or along with something else.
create or replace function nexus_engine.missing_relations() returns text[]
language sql stable
as $$
  select array(
    select r.name from (
      select 1 as place, 'public.' || t as name
      from unnest(array['tiendas', 'users', 'productos', 'ventas', 'detalles_venta', 'insights']) t
      union all
      select 2, m.identity from nexus_engine.made_object m where m.type in ('table', 'view')
    ) r
    where to_regclass(r.name) is null order by r.place, r.name)
$$;

-- What to do about those: a view is made anew, but not over columns that are gone, and nobody makes a table anew.
create or replace function nexus_engine.missing_remedy() returns text
language plpgsql stable
as $$
declare
  problems text;
begin
  if exists (select from nexus_engine.missing_tables()) then
    return nexus_engine.table_remedy();
  end if;
  -- Does not call nexus_engine.check_pos_tables(), which raises it.
  execute format('select string_agg(p.problem, ''; '') from (%s) p',
    (select m.text from nexus_engine.migration m where m.name = 'pos/problems.sql')) into problems;
  return coalesce('give the POS''s tables what they lack (' || problems || '), then ', '') || 'restart, or npm run attach';
end;
$$;

-- Whether our roles have what nexus_engine.missing_grants() asks for on tables: that reads the list of sql/pos/rights.sql, which is
-- too slow for every second. Call it while the tables are there.
create or replace function nexus_engine.has_pos_rights() returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return not exists (
    select from unnest(array['nexus_owner', 'nexus_worker']::name[]) r
    where not has_table_privilege(r, 'public.tiendas', 'select') or not has_table_privilege(r, 'public.productos', 'select')
      or not has_table_privilege(r, 'public.ventas', 'select') or not has_table_privilege(r, 'public.detalles_venta', 'select')
      or not has_table_privilege(r, 'public.insights', 'select') or not has_table_privilege(r, 'public.insights', 'insert')
      or not has_table_privilege(r, 'public.insights', 'update') or not has_table_privilege(r, 'public.insights', 'delete'))
    and (has_table_privilege('nexus_owner', 'public.users', 'select') or not exists (
      select from pg_attribute a
      where a.attrelid = 'public.users'::regclass and a.attname in ('id', 'is_active', 'tienda_id') and not a.attisdropped
        and not has_column_privilege('nexus_owner', a.attrelid, a.attnum, 'select')));
end;
$$;

-- Why the engine may not work now, both null when it may.
--   reason: fit for anybody who asks.
--   remedy: what an operator does about it, with statements to paste.
create or replace function nexus_engine.suspension_details(out reason text, out remedy text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  detached_since timestamptz := (select d.since from nexus_engine.detached d);
  missing text[];
  hidden record;
  grants text;
begin
  if detached_since is not null then
    reason := format('detached from the POS''s tables since %s', nexus_engine.iso_utc(detached_since));
    remedy := 'npm run attach, or select nexus_engine.attach(), puts it back';
    return;
  end if;
  -- Without it no name there can be looked up.
  select string_agg(format('grant usage on schema public to %I;', r), ' ') into grants
  from unnest(array['nexus_owner', 'nexus_worker']::name[]) r where not has_schema_privilege(r, 'public', 'usage');
  if grants is not null then
    reason := 'rights on schema public are missing';
    remedy := format('restart, or npm run attach, or have its owner run: %s', grants);
    return;
  end if;
  missing := nexus_engine.missing_relations();
  if missing <> '{}' then
    reason := format('%s %s missing', array_to_string(missing, ', '), case when cardinality(missing) > 1 then 'are' else 'is' end);
    remedy := nexus_engine.missing_remedy();
    return;
  end if;
  select string_agg(distinct h.relation::text, ', ' order by h.relation::text) as relations,
    string_agg(distinct format('alter table %s disable row level security;', h.relation), ' ') as taking_off,
    string_agg(distinct h.reader::text, ' and ' order by h.reader::text) as readers,
    string_agg(distinct format('alter role %I bypassrls;', h.reader), ' ') as letting_through
  into hidden
  from nexus_engine.hidden_tables() h;
  if hidden.relations is not null then
    reason := format('row level security of %s would hide rows from the engine', hidden.relations);
    remedy := format('let %s see all rows, as a superuser%s: %s or take it off: %s', hidden.readers,
      -- Below 16 nobody else may.
      case when current_setting('server_version_num')::int >= 160000
        then ' or as a role with CREATEROLE and BYPASSRLS that may alter them (on Supabase as postgres)' else '' end,
      hidden.letting_through, hidden.taking_off);
    return;
  end if;
  if nexus_engine.has_pos_rights() then
    return;
  end if;
  select string_agg(distinct m.relation, ', ' order by m.relation), string_agg(m.statement || ';', ' ')
  into reason, grants
  from (
    select substring(g from ' on (public\.\S+) to ') as relation, g as statement
    from nexus_engine.missing_grants() g
  ) m;
  if reason is not null then
    reason := format('rights on %s are missing', reason);
    remedy := format('restart, or npm run attach, or have their owner run: %s', grants);
  end if;
end;
$$;

-- What readiness warns of while our triggers on the POS's tables are not all there and enabled; null when they are, and
-- while the engine is suspended.
create or replace function nexus_engine.triggers_warning() returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select case
    when nexus_engine.suspension() is not null then null
    when not nexus_engine.has_triggers(
      array['public.productos', 'public.ventas', 'public.detalles_venta', 'public.insights']::regclass[])
      then 'triggers of the engine on the POS''s tables are missing or disabled: until they are put back, which is tried every minute, alerts come later'
  end
$$;
grant execute on function nexus_engine.triggers_warning() to nexus_server;

-- Whether our functions and views were made anew a moment ago, by attach() or by a new release: what began before may
-- still miss them, or have planned for others.
create or replace function nexus_engine.was_just_changed() returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from nexus_engine.migration m where m.text is not null and m.applied_at > now() - interval '10 seconds')
$$;
grant execute on function nexus_engine.was_just_changed() to nexus_server;

-- suspension_details as one sentence for an operator; null when the engine may work.
create or replace function nexus_engine.suspension() returns text
language sql stable
as $$
  select d.reason || ': ' || d.remedy from nexus_engine.suspension_details() d
$$;
grant execute on function nexus_engine.suspension_details(), nexus_engine.suspension() to nexus_server;
