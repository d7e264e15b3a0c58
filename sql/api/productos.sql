-- Only columns that sql/pos/problems.sql asks for. Values that cannot be right are null, not an
-- error: the POS accepts NaN and the infinities, JSON has neither.

-- The caller's products, behind a barrier, see nexus_engine.own_insight.
create or replace view nexus_engine.own_producto with (security_barrier) as
select p.id, p.nombre::text as nombre, p.sku::text as sku, p.tipo::text as tipo,
  p.stock_actual::double precision as stock_actual, p.precio_venta::double precision as precio_venta,
  p.precio_costo::double precision as precio_costo, p.is_active, p.atributos
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

-- The product's own threshold is looked up only for the rows that are shown.
create or replace view nexus_api.productos with (security_barrier = false) as
select
  p.id,
  p.nombre,
  p.sku,
  p.tipo,
  nexus_engine.shown_quantity(p.stock_actual) as stock_actual,
  nexus_engine.money(p.precio_venta)::double precision as precio_venta,
  nexus_engine.money(p.precio_costo)::double precision as precio_costo,
  p.is_active,
  (select ps.min_stock from nexus_engine.product_settings ps where ps.producto_id = p.id)::double precision as min_stock,
  coalesce(
    (select ps.min_stock from nexus_engine.product_settings ps where ps.producto_id = p.id),
    (select s.low_stock_threshold from nexus_engine.store s where s.tienda_id = (select nexus_engine.current_tienda_id()))
  )::double precision as low_stock_threshold,
  nexus_engine.unit_of(p.tipo, p.atributos) as unidad
from nexus_engine.own_producto p;
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
comment on column nexus_api.productos.min_stock is E'The product''s own low stock threshold; null when the store''s applies.';
comment on column nexus_api.productos.low_stock_threshold is E'@notNull\nStock at or below this is low: the product''s own threshold, else the store''s.';

-- Sets the low stock threshold of a product, in what its `unidad` says, or with null takes it away, so that the
-- store's applies. The alerts follow at once.
-- Errors: NX001 for a threshold below 0 or above nexus_engine.highest_threshold(); NX002 when the store has no
-- such product; NX003 without a store.
create or replace function nexus_api.set_product_min_stock(producto_id uuid, min_stock double precision default null)
returns nexus_api.productos language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms'
as $$
#variable_conflict use_column
declare
  store uuid := nexus_engine.require_tienda_id();
  shown nexus_api.productos;
begin
  if not exists (select from public.productos p where p.id = set_product_min_stock.producto_id and p.tienda_id = store) then
    raise exception 'producto_id: expected a product of this store, got %', quote_nullable(set_product_min_stock.producto_id)
      using errcode = 'NX002', column = 'producto_id';
  end if;
  if set_product_min_stock.min_stock is null then
    delete from nexus_engine.product_settings ps where ps.producto_id = set_product_min_stock.producto_id;
  elsif set_product_min_stock.min_stock between 0 and nexus_engine.highest_threshold()::double precision then
    insert into nexus_engine.product_settings as ps (producto_id, tienda_id, min_stock)
    values (set_product_min_stock.producto_id, store, set_product_min_stock.min_stock)
    on conflict (producto_id) do update set tienda_id = excluded.tienda_id, min_stock = excluded.min_stock, updated_at = now()
      where (ps.tienda_id, ps.min_stock) is distinct from (excluded.tienda_id, excluded.min_stock);
  else
    raise exception 'min_stock: expected a number from 0 to 1,000,000, got %', set_product_min_stock.min_stock
      using errcode = 'NX001', column = 'min_stock';
  end if;
  select p.* into shown from nexus_api.productos p where p.id = set_product_min_stock.producto_id;
  return shown;
end;
$$;
comment on function nexus_api.set_product_min_stock(uuid, double precision) is E'@resultFieldName producto\nSets the low stock threshold of a product, in what its `unidad` says; null, or none, and the store''s applies. Its alerts follow at once.';
grant execute on function nexus_api.set_product_min_stock(uuid, double precision) to nexus_tienda;
