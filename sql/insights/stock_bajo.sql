insert into nexus_engine.insight_type (tipo, kind, title, description)
values ('STOCK_BAJO', 'state', 'Stock bajo',
  'Stock above zero and at or below the store''s threshold. CRITICA at or below the critical threshold, ALTA at or below half the threshold, else MEDIA.')
on conflict (tipo) do update set kind = excluded.kind, title = excluded.title, description = excluded.description;

-- The comparison with the highest threshold of all lets the scan drop what is low nowhere, before any
-- join; `offset 0` makes the quantity be computed once a row; and the keys of extra_data stand in the
-- order in which jsonb keeps them, which saves the sort.
-- stock_actual and umbral are units, or kilos for productos of tipo pesable.
create or replace function nexus_engine.insight_stock_bajo(tiendas uuid[], as_of timestamptz)
returns setof nexus_engine.finding language sql stable parallel safe
as $$
  with store as materialized (
    select s.tienda_id, s.low_level, s.critical_level, trim_scale(s.low_stock_threshold) as umbral
    from nexus_engine.store s
    where s.tienda_id = any (tiendas) and s.is_active
  )
  select
    p.tienda_id,
    p.id::text,
    p.nivel,
    case p.nivel when 'CRITICA' then '🚨' when 'ALTA' then '⚠️' else '📦' end
      || case when p.stock = 1 then ' Te queda ' else ' Te quedan ' end
      || nexus_engine.es_quantity(p.stock, p.tipo)
      || ' de «' || p.nombre || '» (SKU ' || p.sku || '). Tu mínimo es '
      || nexus_engine.es_quantity(p.umbral, p.tipo) || ': reponé pronto.',
    jsonb_build_object(
      'umbral', p.umbral, 'producto_id', p.id, 'producto_sku', p.sku,
      'stock_actual', p.stock, 'producto_nombre', p.nombre)
  from (
    select p.tienda_id, p.id, p.nombre, p.sku, p.tipo,
      nexus_engine.quantity(p.stock_actual) as stock,
      s.umbral,
      case
        when p.stock_actual <= s.critical_level then 'CRITICA'
        when p.stock_actual <= s.low_level / 2 then 'ALTA'
        else 'MEDIA'
      end as nivel
    from store s
    join public.productos p on p.tienda_id = s.tienda_id
    where p.tienda_id = any (tiendas)
      and p.is_active
      and p.stock_actual > 0 and p.stock_actual <= s.low_level
      and p.stock_actual <= (select max(m.low_level) from store m)
    offset 0
  ) p
$$;
