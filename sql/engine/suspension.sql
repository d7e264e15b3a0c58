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

-- The POS's tables and the views of ours that are not there: dropped by hand, or along with something else.
create or replace function nexus_engine.missing_relations() returns text[]
language sql stable
as $$
  select array(
    select r.name from (
      select 1 as place, 'public.' || t as name
      from unnest(array['tiendas', 'users', 'productos', 'ventas', 'detalles_venta', 'insights']) t
      union all
      select 2, m.identity from nexus_engine.made_object m where m.type = 'view'
    ) r
    where to_regclass(r.name) is null order by r.place, r.name)
$$;

-- Why the engine may not work now, both null when it may.
--   reason: fit for anybody who asks.
--   remedy: what an operator does about it, with statements to paste.
create or replace function nexus_engine.suspension_details(out reason text, out remedy text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  detached_since timestamptz := (select d.since from nexus_engine.detached d);
  missing text[] := nexus_engine.missing_relations();
  hidden record;
begin
  if detached_since is not null then
    reason := format('detached from the POS''s tables since %s', nexus_engine.iso_utc(detached_since));
    remedy := 'npm run attach, or select nexus_engine.attach(), puts it back';
    return;
  end if;
  if missing <> '{}' then
    reason := format('%s %s missing', array_to_string(missing, ', '), case when cardinality(missing) > 1 then 'are' else 'is' end);
    remedy := 'restart, or npm run attach';
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
    remedy := format('let %s see all rows, as a superuser or as a role that has BYPASSRLS and may alter them: %s or take it off: %s',
      hidden.readers, hidden.letting_through, hidden.taking_off);
  end if;
end;
$$;

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
