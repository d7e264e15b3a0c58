-- One row, or none without an active user.
create or replace view nexus_api.tiendas with (security_barrier) as
select t.id, t.nombre::text as nombre, t.rubro::text as rubro,
  nexus_engine.usable_instant(t.created_at) as created_at
from public.tiendas t
where t.id = (select nexus_engine.current_tienda_id());
grant select on nexus_api.tiendas to nexus_tienda;

comment on view nexus_api.tiendas is E'@name tienda\n@behavior -query:resource:list -query:resource:connection -query:resource:single\nThe store.';
comment on column nexus_api.tiendas.id is E'@notNull';
comment on column nexus_api.tiendas.nombre is E'@notNull';
comment on column nexus_api.tiendas.rubro is E'@notNull\nTrade of the store, such as `almacen`.';
comment on column nexus_api.tiendas.created_at is 'Null when the POS holds no usable date.';

-- The caller's store; all null without an active user.
create or replace function nexus_api.tienda()
returns nexus_api.tiendas language sql stable set search_path = pg_catalog, pg_temp
as $$
  select * from nexus_api.tiendas
$$;
comment on function nexus_api.tienda() is E'@notNull\nThe store of the user who asks.';
grant execute on function nexus_api.tienda() to nexus_tienda;
