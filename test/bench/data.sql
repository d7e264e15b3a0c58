-- 1,000 stores of 2,000 products (4 % low, 1 % out of stock) and 3 million tickets in the 60 days
-- before Monday 2026-03-02 15:00Z, in the order of time, as a live POS writes them. Deterministic:
-- every value is a hash of its row's number. detalles_venta stays empty: no insight reads it.
-- dataset.ts runs this on the POS's tables without their indexes and keys, and adds those after.

insert into public.tiendas (id, nombre, rubro, is_active)
select md5('bench tienda ' || n)::uuid, 'Tienda ' || n,
  (array['almacen', 'ferreteria', 'indumentaria', 'kiosco'])[1 + n % 4], true
from generate_series(1, 1000) n;

insert into public.users (id, email, hashed_password, full_name, rol, is_active, tienda_id)
select md5('bench user ' || n)::uuid, 'owner' || n || '@bench.nexus', '!', 'Persona ' || n, 'owner', true,
  md5('bench tienda ' || n)::uuid
from generate_series(1, 1000) n;

insert into public.productos
  (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, created_at, updated_at, tienda_id)
select
  md5('bench producto ' || t || ' ' || p)::uuid,
  (array['Yerba', 'Aceite', 'Tornillo', 'Remera', 'Queso', 'Galletitas', 'Lámpara', 'Cinta'])[1 + p % 8] || ' ' || p,
  'SKU-' || lpad(p::text, 5, '0'),
  500 + h % 50000,
  (500 + h % 50000) * 0.6,
  case
    when slot < 10 then 0
    when slot < 50 then 1 + h % 10
    else 11 + h % 400
  end + case when slot >= 10 and p % 20 = 0 then -0.75 else 0 end,
  case when p % 20 = 0 then 'pesable' else 'general' end,
  true, timestamptz '2025-12-01 12:00Z', timestamptz '2025-12-01 12:00Z',
  tienda_id
from (select n as t, md5('bench tienda ' || n)::uuid as tienda_id from generate_series(1, 1000) n) tienda
cross join lateral (
  select p, abs(hashint8extended(t * 10000 + p, 1)) as h, (p * 7 + t) % 1000 as slot
  from generate_series(1, 2000) p
) producto;

insert into public.ventas (id, fecha, total, metodo_pago, created_at, status_pago, tienda_id)
select
  md5('bench venta ' || n)::uuid,
  at,
  (100 + h % 5000000) / 100.0,
  case when h % 10 < 6 then 'efectivo' when h % 10 < 9 then 'tarjeta' else 'transferencia' end,
  at,
  case when h % 100 < 3 then 'anulado' when h % 10 < 6 or h % 100 < 8 then 'pendiente' else 'pagado' end,
  tiendas[1 + abs(hashint8extended(n, 2)) % 1000]
from (select array_agg(id order by id) as tiendas from public.tiendas) tienda
cross join lateral (
  select n, abs(hashint8extended(n, 3)) as h,
    timestamptz '2026-03-02 15:00Z' - interval '60 days' + n * interval '1.728 seconds' as at
  from generate_series(1, 3000000) n
) venta;
