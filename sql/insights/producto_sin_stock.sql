insert into nexus_engine.insight_type (tipo, kind, title, description)
values ('PRODUCTO_SIN_STOCK', 'state', 'Producto sin stock',
  'Stock at or below zero, always ALTA. Takes the place of STOCK_BAJO for the product. A negative stock means that more was sold than had been entered.')
on conflict (tipo) do update set kind = excluded.kind, title = excluded.title, description = excluded.description;

-- stock_actual is in units, or kilos for productos of tipo pesable. A stock of minus infinity or
-- below minus 1,000 million is no stock and gives no finding.
create or replace function nexus_engine.insight_producto_sin_stock(tiendas uuid[], as_of timestamptz)
returns setof nexus_engine.finding language sql stable parallel safe
as $$
  select
    p.tienda_id,
    p.id::text,
    'ALTA',
    case when p.stock < 0
      then '🔴 «' || p.nombre || '» (SKU ' || p.sku || ') figura con '
        || nexus_engine.es_quantity(p.stock, p.tipo)
        || ': se vendió más de lo cargado. Contalo y corregí el stock.'
      else '🔴 «' || p.nombre || '» (SKU ' || p.sku || ') está agotado: reponelo para no perder ventas.'
    end,
    jsonb_build_object(
      'producto_id', p.id, 'producto_sku', p.sku, 'stock_actual', p.stock, 'producto_nombre', p.nombre)
  from (
    select p.tienda_id, p.id, p.nombre, p.sku, p.tipo, nexus_engine.quantity(p.stock_actual) as stock
    from nexus_engine.store s
    join public.productos p on p.tienda_id = s.tienda_id
    where s.tienda_id = any (tiendas) and p.tienda_id = any (tiendas)
      and s.is_active and p.is_active
      and p.stock_actual <= 0 and p.stock_actual > -1e9
    offset 0
  ) p
$$;
