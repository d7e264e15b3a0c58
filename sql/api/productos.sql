-- Only columns that src/database/pos.ts checks for. Values that cannot be right are null, not an
-- error: the POS accepts NaN and the infinities, JSON has neither.

-- The caller's products, behind a barrier, see nexus_engine.own_insight.
create or replace view nexus_engine.own_producto with (security_barrier) as
select p.id, p.nombre, p.sku, p.tipo, p.stock_actual, p.precio_venta, p.precio_costo, p.is_active
from public.productos p
where p.tienda_id = (select nexus_engine.current_tienda_id());

-- nexus_engine.quantity as double precision, without its detour over decimals where the value has at most
-- three already: the list is sorted and filtered by it. Adding 0 makes -0 a 0. Its names are bound when it is
-- made, because who reads the view has no right to the schema.
create or replace function nexus_engine.shown_quantity(amount double precision)
returns double precision language sql immutable parallel safe
return case
  when abs(amount) < 1e9 and round(amount * 1000) / 1000 = amount then amount + 0
  else nexus_engine.quantity(amount)::double precision
end;
grant execute on function nexus_engine.shown_quantity(double precision) to nexus_tienda;

create or replace view nexus_api.productos with (security_barrier = false) as
select
  p.id,
  p.nombre::text as nombre,
  p.sku::text as sku,
  p.tipo::text as tipo,
  nexus_engine.shown_quantity(p.stock_actual) as stock_actual,
  nexus_engine.money(p.precio_venta)::double precision as precio_venta,
  nexus_engine.money(p.precio_costo)::double precision as precio_costo,
  p.is_active
from nexus_engine.own_producto p;
grant select on nexus_api.productos to nexus_tienda;

comment on view nexus_api.productos is E'@name producto\n@primaryKey id\nA product of the store.';
comment on column nexus_api.productos.id is E'@notNull';
comment on column nexus_api.productos.nombre is E'@notNull\n@behavior +orderBy +filterBy';
comment on column nexus_api.productos.sku is E'@notNull\n@behavior +orderBy +filterBy';
comment on column nexus_api.productos.tipo is E'@notNull\n@behavior +filterBy\nKind of product in the POS; `pesable` is sold by weight.';
comment on column nexus_api.productos.stock_actual is E'@behavior +orderBy +filterBy\nUnits in stock, kilos for `pesable`; negative when more was sold than had been entered. Null when the POS holds no usable number.';
comment on column nexus_api.productos.precio_venta is 'Price, in pesos and cents. Null when the POS holds no usable amount.';
comment on column nexus_api.productos.precio_costo is 'Cost, in pesos and cents. Null when the POS holds no usable amount.';
comment on column nexus_api.productos.is_active is E'@notNull\n@behavior +filterBy';
