insert into nexus_engine.insight_type (tipo, kind, period, title, description, params)
values ('VENTAS_SEMANALES', 'period', 'week', 'Ventas de la semana',
  'What the seven business days before the weekly summary brought, and the change against the seven before, split into the number of tickets and the average ticket.',
  '{"settle": "30 seconds", "max_age": "8 days", "kept_true": 1}')
on conflict (tipo) do update set kind = excluded.kind, period = excluded.period,
  title = excluded.title, description = excluded.description;

-- Amounts in pesos and cents; fecha_desde and fecha_hasta in UTC, semana_desde and semana_hasta are
-- the first and the last business day. The changes are in percent, null without a week before.
create or replace function nexus_engine.insight_ventas_semanales(tiendas uuid[], as_of timestamptz)
returns setof nexus_engine.finding language sql stable parallel safe
as $$
  with week as materialized (
    select p.*, s.time_zone
    from nexus_engine.store_period('week', tiendas, as_of) p
    join nexus_engine.store s on s.tienda_id = p.tienda_id
    where s.is_active
  ),
  sold as (
    select w.*, v.*,
      round(v.total / nullif(v.tickets, 0), 2) as average,
      round(v.before_total / nullif(v.before_tickets, 0), 2) as before_average
    from week w
    cross join lateral (
      select
        coalesce(sum(d.total) filter (where d.day >= w.first_day), 0) as total,
        coalesce(sum(d.tickets) filter (where d.day >= w.first_day), 0)::bigint as tickets,
        coalesce(sum(d.unusable) filter (where d.day >= w.first_day), 0) as unusable,
        coalesce(sum(d.pending) filter (where d.day >= w.first_day), 0) as pending,
        coalesce(sum(d.refunds) filter (where d.day >= w.first_day), 0)::bigint as refunds,
        coalesce(sum(d.refunded) filter (where d.day >= w.first_day), 0) as refunded,
        coalesce(sum(d.total) filter (where d.day < w.first_day), 0) as before_total,
        coalesce(sum(d.tickets) filter (where d.day < w.first_day), 0) as before_tickets
      from nexus_engine.sold_by_day_v2(w.tienda_id, w.first_day - 7, w.last_day, w.ends_at) d
    ) v
    where v.tickets > 0
  )
  select
    s.tienda_id,
    s.subject,
    'BAJA',
    '📅 Semana del ' || nexus_engine.es_day(s.first_day) || ' al ' || nexus_engine.es_day(s.last_day)
      || ': ' || nexus_engine.es_sold(s.total, s.tickets, s.refunds, s.refunded) || '.'
      || case when c.total is null then ''
           else ' Frente a la semana anterior: ventas ' || nexus_engine.es_change(c.total)
             || ', tickets ' || nexus_engine.es_change(c.tickets)
             || coalesce(', ticket promedio ' || nexus_engine.es_change(c.average), '') || '.' end
      || nexus_engine.es_pending(s.pending),
    jsonb_build_object(
      'semana_desde', s.first_day, 'semana_hasta', s.last_day,
      'fecha_desde', nexus_engine.iso_utc(s.starts_at), 'fecha_hasta', nexus_engine.iso_utc(s.ends_at),
      'zona_horaria', s.time_zone,
      'total_vendido', s.total, 'cantidad_ventas', s.tickets, 'ticket_promedio', s.average,
      'vendido_sin_devoluciones', s.total + s.refunded, 'tickets_sin_devoluciones', s.tickets - s.refunds,
      'devoluciones', s.refunded, 'cantidad_devoluciones', s.refunds, 'pendiente_de_cobro', s.pending,
      'semana_anterior', jsonb_build_object(
        'total_vendido', s.before_total, 'cantidad_ventas', s.before_tickets, 'ticket_promedio', s.before_average),
      'cambio_porcentaje', c.total, 'cambio_tickets_porcentaje', c.tickets,
      'cambio_ticket_promedio_porcentaje', c.average, 'filas_excluidas', s.unusable),
    null::bigint
  from sold s
  cross join lateral (
    select
      case when s.tickets > s.refunds then nexus_engine.change_percent(s.total, s.before_total) end as total,
      nexus_engine.change_percent(s.tickets, s.before_tickets) as tickets,
      nexus_engine.change_percent(s.average, s.before_average) as average
  ) c
$$;
