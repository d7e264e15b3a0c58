insert into nexus_engine.insight_type (tipo, kind, title, description)
values ('STOCK_BAJO', 'state', 'Stock bajo',
  'Stock above zero and at or below the product''s own threshold, or else the store''s. CRITICA at or below the critical threshold, ALTA at or below half the threshold, else MEDIA.')
on conflict (tipo) do update set kind = excluded.kind, title = excluded.title, description = excluded.description;

-- What is to be said of these products, by an array of their ids: joined, the planner reads every
-- product of a hundred stores. stock_actual and umbral are in what unidad says.
-- Each `offset 0` keeps what stands above it computed once a row, and out of the way when it is not
-- asked for: content is one number, so that nombre, sku and unidad need not be carried for content_key.
-- The keys of extra_data stand in the order in which jsonb keeps them, which saves the sort.
create or replace function nexus_engine.insight_stock_bajo(tiendas uuid[], as_of timestamptz, productos uuid[])
returns setof nexus_engine.finding language sql stable parallel safe
as $$
  with store as materialized (
    select s.tienda_id, s.low_stock_threshold, s.critical_threshold
    from nexus_engine.store s
    where s.tienda_id = any (tiendas) and s.is_active
  )
  select
    p.tienda_id,
    p.producto_id::text,
    case p.band when 3 then 'CRITICA' when 2 then 'ALTA' else 'MEDIA' end,
    case p.band when 3 then '🚨' when 2 then '⚠️' else '📦' end
      || case when p.stock = 1 then ' Te queda ' else ' Te quedan ' end
      || nexus_engine.es_amount(p.stock, p.unidad)
      || ' de «' || p.nombre || '» (SKU ' || p.sku || '). Tu mínimo es '
      || nexus_engine.es_amount(p.umbral, p.unidad) || ': reponé pronto.',
    jsonb_build_object(
      'umbral', p.umbral, 'unidad', p.unidad, 'producto_id', p.producto_id, 'producto_sku', p.sku,
      'stock_actual', p.stock, 'producto_nombre', p.nombre),
    p.content_key
  from (
    select l.tienda_id, l.id as producto_id, l.nombre, l.sku, l.unidad, l.stock, b.band,
      trim_scale(coalesce(ps.min_stock, s.low_stock_threshold)) as umbral,
      hash_numeric_extended(coalesce(ps.min_stock, s.low_stock_threshold), hashint4extended(b.band, l.content)) as content_key
    from (
      select n.*, nexus_engine.product_content(n.tienda_id, n.id, n.nombre, n.sku, n.unidad, n.stock) as content
      from (
        select p.id, p.tienda_id, p.nombre, p.sku,
          nexus_engine.unit_of(p.tipo::text, p.atributos) as unidad, nexus_engine.quantity(p.stock_actual) as stock
        from public.productos p
        where p.is_active and p.id = any (productos)
        offset 0
      ) n
      offset 0
    ) l
    join store s on s.tienda_id = l.tienda_id
    left join nexus_engine.product_settings ps on ps.producto_id = l.id
    cross join lateral (
      select nexus_engine.quantity_band(
        l.stock, coalesce(ps.min_stock, s.low_stock_threshold), s.critical_threshold) as band
    ) b
    offset 0
  ) p
  where p.band between 1 and 3
$$;

-- The same of the products that stock_watch lists. One that SQL moved to another store is never told to
-- the one that had it; to its new one for good once the nightly check has listed it there.
create or replace function nexus_engine.insight_stock_bajo(tiendas uuid[], as_of timestamptz)
returns setof nexus_engine.finding language sql stable parallel safe
as $$
  select f.*
  from (
    select array(
      select w.producto_id from nexus_engine.stock_watch w where w.tienda_id = any (tiendas) and not w.is_out) as productos
    offset 0
  ) l
  cross join lateral nexus_engine.insight_stock_bajo(tiendas, as_of, l.productos) f
$$;
