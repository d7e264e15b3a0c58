-- Who is asking. Every request of the API runs as nexus_tienda with the user's id in the setting
-- nexus.user_id, which src/graphql sets for one transaction, after it has verified the token.

-- The store of the current user, null unless both the user and the store are active. Written as
-- (select nexus_engine.current_tienda_id()) it is asked once a statement, not once a row. Parallel safe, so that
-- the list of a store with very many rows is sorted on two cores, where they are free.
create or replace function nexus_engine.current_tienda_id()
returns uuid language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp
as $$
  select t.id
  from public.users u
  join public.tiendas t on t.id = u.tienda_id
  where u.id = nullif(current_setting('nexus.user_id', true), '')::uuid and u.is_active and t.is_active
$$;
grant execute on function nexus_engine.current_tienda_id() to nexus_tienda;
-- What the view nexus_engine.store falls back to.
grant execute on function nexus_engine.default_low_threshold(), nexus_engine.default_critical_threshold(),
  nexus_engine.default_pending_methods() to nexus_tienda;

-- The same for functions that have no meaning without a store.
-- Errors: NX003 when the user or the store was deactivated since the token was checked.
create or replace function nexus_engine.require_tienda_id()
returns uuid language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  tienda_id uuid := nexus_engine.current_tienda_id();
begin
  if tienda_id is null then
    raise exception 'expected an active user of an active store' using errcode = 'NX003';
  end if;
  return tienda_id;
end;
$$;

-- What the API must know of a user before it runs anything: always one row, for any id.
create or replace function nexus_engine.authenticate(
  p_user_id uuid,
  out user_exists boolean, out user_active boolean,
  out store_exists boolean, out store_active boolean,
  out is_operator boolean
) language sql stable security definer set search_path = pg_catalog, pg_temp set row_security = off
as $$
  select
    u.id is not null, coalesce(u.is_active, false),
    t.id is not null, coalesce(t.is_active, false),
    o.user_id is not null
  from (values (p_user_id)) asked (id)
  left join public.users u on u.id = asked.id
  left join public.tiendas t on t.id = u.tienda_id
  left join nexus_engine.operator o on o.user_id = u.id
$$;
-- Which of these users are active in an active store, and in which: asked when a subscriber connects,
-- and again and again while it stays.
create or replace function nexus_engine.active_stores(p_user_ids uuid[])
returns table (user_id uuid, tienda_id uuid)
language sql stable security definer set search_path = pg_catalog, pg_temp set row_security = off
as $$
  select u.id, t.id
  from public.users u
  join public.tiendas t on t.id = u.tienda_id
  where u.id = any (p_user_ids) and u.is_active and t.is_active
$$;
-- nexus_server needs the schema's name for these two calls; nothing else in it is granted to it.
grant usage on schema nexus_engine to nexus_server;
grant execute on function nexus_engine.authenticate(uuid), nexus_engine.active_stores(uuid[]) to nexus_server;
-- Which it has by default. Users are no business of the worker's.
revoke execute on function nexus_engine.authenticate(uuid), nexus_engine.active_stores(uuid[]) from nexus_worker;

-- An instant of the POS that a client can read, of the years 1 to 9999; null for the infinities and for others.
create or replace function nexus_engine.usable_instant(at timestamptz)
returns timestamptz language sql immutable parallel safe
as $$
  select case when at >= timestamptz '0001-01-01 00:00Z' and at < timestamptz '10000-01-01 00:00Z' then at end
$$;

-- An instant as GraphQL shows it. Its cost, and a language that is not inlined, let Postgres call it for the
-- rows that are shown, and not for each that is sorted.
create or replace function nexus_api.iso_instant(at timestamptz)
returns text language plpgsql stable parallel safe cost 100 set search_path = pg_catalog, pg_temp
as $$
begin
  return to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS.USTZH:TZM');
end;
$$;
comment on function nexus_api.iso_instant(timestamptz) is E'@behavior -*';
grant execute on function nexus_api.iso_instant(timestamptz) to nexus_tienda;

-- Functions that the views call with the rights of whoever reads them.
grant execute on function
  nexus_engine.money(double precision),
  nexus_engine.quantity(double precision),
  nexus_engine.unit_of(text, jsonb),
  nexus_engine.urgencia_rank(text),
  nexus_engine.usable_instant(timestamptz)
to nexus_tienda;
