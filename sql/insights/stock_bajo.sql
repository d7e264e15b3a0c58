insert into nexus_engine.insight_type (tipo, kind, title, description)
values ('STOCK_BAJO', 'state', 'Stock bajo',
  'Stock above zero and at or below the store''s threshold. CRITICA at or below the critical threshold, ALTA at or below half the threshold, else MEDIA.')
on conflict (tipo) do update set kind = excluded.kind, title = excluded.title, description = excluded.description;

-- stock_actual and umbral are units, or kilos for productos of tipo pesable.
create or replace function nexus_engine.insight_stock_bajo(tiendas uuid[], as_of timestamptz)
returns setof nexus_engine.finding language sql stable parallel safe
as $$
  select
    p.tienda_id,
    p.id::text,
    u.nivel,
    case u.nivel when 'CRITICA' then '🚨' when 'ALTA' then '⚠️' else '📦' end
      || case when q.stock = 1 then ' Te queda ' else ' Te quedan ' end
      || nexus_engine.es_quantity(q.stock, p.tipo)
      || ' de «' || p.nombre || '» (SKU ' || p.sku || '). Tu mínimo es '
      || nexus_engine.es_quantity(trim_scale(s.low_stock_threshold), p.tipo) || ': reponé pronto.',
    jsonb_build_object(
      'producto_id', p.id, 'producto_nombre', p.nombre, 'producto_sku', p.sku,
      'stock_actual', q.stock, 'umbral', trim_scale(s.low_stock_threshold))
  from nexus_engine.store s
  join public.productos p on p.tienda_id = s.tienda_id
  cross join lateral (select nexus_engine.quantity(p.stock_actual) as stock) q
  cross join lateral (
    select case
      when p.stock_actual <= s.critical_level then 'CRITICA'
      when p.stock_actual <= s.low_level / 2 then 'ALTA'
      else 'MEDIA'
    end as nivel
  ) u
  where s.tienda_id = any (tiendas) and p.tienda_id = any (tiendas)
    and s.is_active and p.is_active
    and p.stock_actual > 0 and p.stock_actual <= s.low_level
$$;
