-- $1 stores of ten products, each sold yesterday and today; their business days end one after the
-- other from a minute before now to $2 seconds after it (or before, where negative), in zones all round the world.
-- Each day is told 45 seconds before its end, and completed after it.
with store as (
  insert into public.tiendas (id, nombre, rubro, is_active)
  select gen_random_uuid(), 'Sucursal ' || n, 'kiosco', true from generate_series(1, $1::int) n
  returning id, nombre
),
setting as (
  insert into nexus_engine.store_settings (tienda_id, time_zone, day_starts_at, summary_time)
  select s.id, z.zone, e.ends_at::time, (e.ends_at - interval '45 seconds')::time
  from (select id, substr(nombre, 10)::int as n from store) s
  join unnest(array['America/Argentina/Buenos_Aires', 'Europe/Madrid', 'Asia/Kathmandu', 'Pacific/Chatham', 'America/St_Johns'])
    with ordinality z (zone, k) on z.k = 1 + s.n % 5
  cross join lateral (
    select date_trunc('second', (now() + (-60 + (60 + $2::float8) * s.n / $1) * interval '1 second') at time zone z.zone) as ends_at
  ) e
),
product as (
  insert into public.productos (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
  select gen_random_uuid(), 'Producto ' || p, s.nombre || '-' || p, 100, 60, 5 * p, 'general', true, s.id
  from store s, generate_series(1, 10) p
)
insert into public.ventas (id, fecha, total, metodo_pago, status_pago, tienda_id)
select gen_random_uuid(), now() - h * interval '5 hours' - interval '10 minutes', 100 + h, 'efectivo', 'pagado', s.id
from store s, generate_series(0, 9) h
