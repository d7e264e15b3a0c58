-- 200 stores of 100 products (a tenth of them low) and 600,000 tickets of one line in the 60 days before now, in
-- the order of time, and what the POS's own refresh left: three insights a store.

insert into public.tiendas (id, nombre, rubro, is_active)
select md5('attach tienda ' || n)::uuid, 'Tienda ' || n, 'almacen', true from generate_series(1, 200) n;

insert into public.productos (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
select md5('attach producto ' || t || ' ' || p)::uuid, 'Producto ' || p, 'SKU-' || t || '-' || p, 100, 60,
  case when p % 10 = 0 then 5 else 100000 end, 'general', true, md5('attach tienda ' || t)::uuid
from generate_series(1, 200) t, generate_series(1, 100) p;

insert into public.insights (id, tipo, mensaje, nivel_urgencia, is_active, extra_data, tienda_id)
select gen_random_uuid(), 'STOCK_BAJO', 'Quedan 5', 'ALTA', true,
  jsonb_build_object('producto_id', md5('attach producto ' || t || ' ' || p)::uuid, 'stock_actual', 5), md5('attach tienda ' || t)::uuid
from generate_series(1, 200) t, generate_series(10, 30, 10) p;

insert into public.ventas (id, fecha, total, metodo_pago, created_at, status_pago, tienda_id)
select md5('attach venta ' || n)::uuid, at, 100,
  (array['efectivo', 'tarjeta_debito', 'tarjeta_credito', 'transferencia'])[1 + n / 200 % 4], at,
  (array['pagado', 'pendiente'])[1 + n / 800 % 2], md5('attach tienda ' || 1 + n % 200)::uuid
from generate_series(1, 600000) n
cross join lateral (select now() - interval '60 days' + n * interval '8.64 seconds' as at) f;

insert into public.detalles_venta (id, cantidad, precio_unitario, subtotal, venta_id, producto_id)
select md5('attach linea ' || n)::uuid, 1, 100, 100, md5('attach venta ' || n)::uuid,
  md5('attach producto ' || 1 + n % 200 || ' ' || 1 + n / 200 % 100)::uuid
from generate_series(1, 600000) n;
