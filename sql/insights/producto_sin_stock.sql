insert into nexus_engine.insight_type (tipo, kind, title, description)
values ('PRODUCTO_SIN_STOCK', 'state', 'Producto sin stock',
  'Stock at or below zero, always ALTA. Takes the place of STOCK_BAJO for the product. A negative stock means that more was sold than had been entered.')
on conflict (tipo) do update set kind = excluded.kind, title = excluded.title, description = excluded.description;

-- What is to be said of these products. stock_actual is in what unidad says; what rounds to nothing is
-- nothing. A stock of minus infinity or below minus 1,000 million is no stock and gives no
-- finding. The shape of the query: see insight_stock_bajo.
create or replace function nexus_engine.insight_producto_sin_stock(tiendas uuid[], as_of timestamptz, productos uuid[])
returns setof nexus_engine.finding language sql stable parallel safe
as $$
  with store as materialized (
    select s.tienda_id from nexus_engine.store s where s.tienda_id = any (tiendas) and s.is_active
  )
  select
    p.tienda_id,
    p.producto_id::text,
    'ALTA',
    case when p.stock < 0
      then '🔴 «' || p.nombre || '» (SKU ' || p.sku || ') figura con '
        || nexus_engine.es_amount(p.stock, p.unidad)
        || ': se vendió más de lo cargado. Contalo y corregí el stock.'
      else '🔴 Se agotó «' || p.nombre || '» (SKU ' || p.sku || '): reponé para no perder ventas.'
    end,
    jsonb_build_object(
      'unidad', p.unidad, 'producto_id', p.producto_id, 'producto_sku', p.sku,
      'stock_actual', p.stock, 'producto_nombre', p.nombre),
    p.content
  from (
    select l.*, nexus_engine.product_content(l.tienda_id, l.producto_id, l.nombre, l.sku, l.unidad, l.stock) as content
    from (
      select p.id as producto_id, p.tienda_id, p.nombre, p.sku,
        nexus_engine.unit_of(p.tipo::text, p.atributos) as unidad, nexus_engine.quantity(p.stock_actual) as stock
      from public.productos p
      where p.is_active and p.stock_actual < 0.001 and p.id = any (productos)
      offset 0
    ) l
    join store s on s.tienda_id = l.tienda_id
    where l.stock <= 0
    offset 0
  ) p
$$;

-- The same of the products that stock_watch lists.
create or replace function nexus_engine.insight_producto_sin_stock(tiendas uuid[], as_of timestamptz)
returns setof nexus_engine.finding language sql stable parallel safe
as $$
  select f.*
  from (
    select array(
      select w.producto_id from nexus_engine.stock_watch w where w.tienda_id = any (tiendas) and w.is_out) as productos
    offset 0
  ) l
  cross join lateral nexus_engine.insight_producto_sin_stock(tiendas, as_of, l.productos) f
$$;
