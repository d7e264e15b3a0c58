-- bench.stores stores of 200 products (4 % low, 1 % out of stock) and 10 tickets of a line each, of the
-- last week, in the order of time. dataset.ts runs this on tables without indexes and keys.

insert into public.tiendas (id, nombre, rubro, is_active)
select md5('fleet tienda ' || n)::uuid, 'Tienda ' || n, 'almacen', true
from generate_series(1, current_setting('bench.stores')::int) n;

-- Every store has one product of each slot; that of slot 2 is low, and the one that is sold.
insert into public.productos
  (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
select
  md5('fleet producto ' || t || ' ' || slot)::uuid, 'Producto ' || slot,
  case when slot = 2 then 'SKU-SOLD' else 'SKU-' || slot end, 100, 60,
  case when slot < 2 then 0 when slot = 2 then 10 when slot < 10 then slot else 11 + (slot * 7 + t) % 400 end,
  'general', true, md5('fleet tienda ' || t)::uuid
from generate_series(1, current_setting('bench.stores')::int) t, generate_series(0, 199) slot;

insert into public.ventas (id, fecha, total, metodo_pago, created_at, status_pago, tienda_id)
select md5('fleet venta ' || n)::uuid, at, 200, 'efectivo', at, 'pendiente',
  md5('fleet tienda ' || 1 + n % stores)::uuid
from (select current_setting('bench.stores')::int as stores) fleet,
  generate_series(1, stores * 10) n,
  lateral (select now() - interval '1 hour' - (1 - n / (stores * 10.0)) * interval '7 days' as at) moment;

insert into public.detalles_venta (id, cantidad, precio_unitario, subtotal, venta_id, producto_id)
select md5('fleet linea ' || n)::uuid, 2, 100, 200, md5('fleet venta ' || n)::uuid,
  md5('fleet producto ' || 1 + n % stores || ' ' || 10 + n % 190)::uuid
from (select current_setting('bench.stores')::int as stores) fleet, generate_series(1, stores * 10) n;
