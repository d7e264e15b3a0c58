-- Only columns that src/database/pos.ts checks for. Values that cannot be right are null, not an
-- error: the POS accepts NaN and the infinities, JSON has neither.
create or replace view nexus_api.productos with (security_barrier) as
select
  p.id,
  p.nombre::text as nombre,
  p.sku::text as sku,
  p.tipo::text as tipo,
  nexus_engine.quantity(p.stock_actual)::double precision as stock_actual,
  nexus_engine.money(p.precio_venta)::double precision as precio_venta,
  nexus_engine.money(p.precio_costo)::double precision as precio_costo,
  p.is_active,
  nexus_engine.unit_of(p.tipo, p.atributos) as unidad
from public.productos p
where p.tienda_id = (select nexus_engine.current_tienda_id());
grant select on nexus_api.productos to nexus_tienda;

comment on view nexus_api.productos is E'@name producto\n@primaryKey id\nA product of the store.';
comment on column nexus_api.productos.id is E'@notNull';
comment on column nexus_api.productos.nombre is E'@notNull\n@behavior +orderBy +filterBy';
comment on column nexus_api.productos.sku is E'@notNull\n@behavior +orderBy +filterBy';
comment on column nexus_api.productos.tipo is E'@notNull\n@behavior +filterBy\nKind of product in the POS; `pesable` is sold by weight.';
comment on column nexus_api.productos.stock_actual is E'@behavior +orderBy +filterBy\nStock in what `unidad` says, three decimals; negative when more was sold than had been entered. Null when the POS holds no usable number.';
comment on column nexus_api.productos.precio_venta is 'Price, in pesos and cents. Null when the POS holds no usable amount.';
comment on column nexus_api.productos.precio_costo is 'Cost, in pesos and cents. Null when the POS holds no usable amount.';
comment on column nexus_api.productos.is_active is E'@notNull\n@behavior +filterBy';
comment on column nexus_api.productos.unidad is E'@notNull\nWhat its quantities are in: `unidad`, or `kg`, `g`, `lt` or `ml` of weighed products.';
