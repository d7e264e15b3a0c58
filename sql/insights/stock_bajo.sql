insert into nexus_engine.insight_type (tipo, kind, title, description)
values ('STOCK_BAJO', 'state', 'Stock bajo',
  'Stock above zero and at or below the product''s own threshold, or else the store''s. CRITICA at or below the critical threshold, ALTA at or below half the threshold, else MEDIA.')
on conflict (tipo) do update set kind = excluded.kind, title = excluded.title, description = excluded.description;

-- Reads the products that stock_watch lists. stock_actual and umbral are units, or kilos for
-- productos of tipo pesable.
-- The lateral with `offset 0` fetches products by their id: joined, the planner reads them all for a
-- hundred stores. The other `offset 0` makes the quantity be computed once a row. The keys of
-- extra_data stand in the order in which jsonb keeps them, which saves the sort.
create or replace function nexus_engine.insight_stock_bajo(tiendas uuid[], as_of timestamptz)
returns setof nexus_engine.finding language sql stable parallel safe
as $$
  with store as materialized (
    select s.tienda_id, s.low_stock_threshold, s.low_level, s.critical_level
    from nexus_engine.store s
    where s.tienda_id = any (tiendas) and s.is_active
  )
  select
    p.tienda_id,
    p.producto_id::text,
    p.nivel,
    case p.nivel when 'CRITICA' then '🚨' when 'ALTA' then '⚠️' else '📦' end
      || case when p.stock = 1 then ' Te queda ' else ' Te quedan ' end
      || nexus_engine.es_quantity(p.stock, p.tipo)
      || ' de «' || p.nombre || '» (SKU ' || p.sku || '). Tu mínimo es '
      || nexus_engine.es_quantity(p.umbral, p.tipo) || ': reponé pronto.',
    jsonb_build_object(
      'umbral', p.umbral, 'producto_id', p.producto_id, 'producto_sku', p.sku,
      'stock_actual', p.stock, 'producto_nombre', p.nombre)
  from (
    select w.tienda_id, w.producto_id, l.nombre, l.sku, l.tipo,
      nexus_engine.quantity(l.stock_actual) as stock,
      trim_scale(coalesce(ps.min_stock, s.low_stock_threshold)) as umbral,
      case nexus_engine.stock_band(
          l.stock_actual, coalesce(ps.min_stock::double precision, s.low_level), s.critical_level)
        when 3 then 'CRITICA' when 2 then 'ALTA' when 1 then 'MEDIA'
      end as nivel
    from nexus_engine.stock_watch w
    join store s on s.tienda_id = w.tienda_id
    cross join lateral (
      select p.nombre, p.sku, p.tipo, p.stock_actual from public.productos p
      where p.id = w.producto_id and p.tienda_id = w.tienda_id and p.is_active
      offset 0
    ) l
    left join nexus_engine.product_settings ps on ps.producto_id = w.producto_id
    where w.tienda_id = any (tiendas) and not w.is_out
    offset 0
  ) p
  where p.nivel is not null
$$;
