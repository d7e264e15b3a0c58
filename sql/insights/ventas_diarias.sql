insert into nexus_engine.insight_type (tipo, kind, period, title, description, params)
values ('VENTAS_DIARIAS', 'period', 'day', 'Ventas del día',
  'What a business day brought: total, tickets, average ticket, and the change against the average of the same weekday in the four weeks before, counting only those on which there were sales. Told at the summary time, up to which it then compares; completed when the day has ended.',
  '{"settle": "30 seconds", "max_age": "3 days", "kept_true": 3}')
on conflict (tipo) do update set kind = excluded.kind, period = excluded.period,
  title = excluded.title, description = excluded.description;

-- Before the day has ended: what was sold up to its announcement, against the same weekdays up to the same time
-- of the store's clock. From its end on: the whole day against whole days.
-- Amounts in pesos and cents; fecha_desde, fecha_hasta and vendido_hasta in UTC, fecha is the store's own date.
-- filas_excluidas: tickets left out because their amount or date cannot be right. A day without tickets has no
-- finding; one with nothing but refunds has, and is not compared.
create or replace function nexus_engine.insight_ventas_diarias(tiendas uuid[], as_of timestamptz)
returns setof nexus_engine.finding language sql stable parallel safe
as $$
  with day as materialized (
    select p.*, s.time_zone, as_of >= p.ends_at as is_whole,
      case when as_of >= p.ends_at then p.ends_at else p.announced_at end as until
    from nexus_engine.store_period('day', tiendas, as_of) p
    join nexus_engine.store s on s.tienda_id = p.tienda_id
    where s.is_active
  ),
  sold as (
    select d.*, v.total, v.tickets, v.pending, v.refunds, v.refunded, v.unusable + f.unusable as unusable
    from day d
    cross join lateral nexus_engine.sold_by_day_v2(d.tienda_id, d.first_day, d.first_day, d.until) v
    cross join lateral (
      select count(*) as unusable
      from nexus_engine.sale v
      where v.tienda_id = d.tienda_id and v.fecha > d.ends_at + interval '1 day'
        and v.total is null and v.created_at >= d.starts_at and v.created_at < d.until
    ) f
    where v.tickets > 0
  ),
  usual as (
    select d.tienda_id, round(avg(v.total), 2) as average, count(*) as weeks
    from day d
    cross join generate_series(1, 4) week
    cross join lateral nexus_engine.sold_by_day_v2(
      d.tienda_id, d.first_day - 7 * week, d.first_day - 7 * week,
      case when d.is_whole then d.starts_at
        else ((d.until at time zone d.time_zone) - make_interval(days => 7 * week)) at time zone d.time_zone end) v
    where v.total > 0
    group by d.tienda_id
  )
  select
    s.tienda_id,
    s.subject,
    'BAJA',
    nexus_engine.es_trend(c.change) || ' El ' || nexus_engine.es_weekday(s.first_day) || ' '
      || nexus_engine.es_day(s.first_day)
      || case when s.is_whole then ' ' else ' hasta las ' || to_char(s.until at time zone s.time_zone, 'HH24:MI') || ' ' end
      || nexus_engine.es_sold(s.total, s.tickets, s.refunds, s.refunded)
      || case
           when c.change is null then '.'
           else case when s.refunds > 0 then ', ' else ': ' end
             || case
               when c.change > 0 then nexus_engine.es_number(c.change, 1) || ' % más que'
               when c.change < 0 then nexus_engine.es_number(-c.change, 1) || ' % menos que'
               else 'lo mismo que'
             end
             || case when u.weeks = 1 then ' el ' || nexus_engine.es_weekday(s.first_day) || ' anterior con ventas'
                  else ' el promedio de tus últimos ' || u.weeks || ' ' || nexus_engine.es_weekday(s.first_day)
                    || case when extract(isodow from s.first_day) in (6, 7) then 's' else '' end
                end
             || case when s.is_whole then '' else ' hasta esa hora' end
             || ' (' || nexus_engine.es_money(u.average) || ').'
         end
      || nexus_engine.es_pending(s.pending),
    jsonb_build_object(
      'fecha', s.first_day, 'fecha_desde', nexus_engine.iso_utc(s.starts_at),
      'fecha_hasta', nexus_engine.iso_utc(s.ends_at), 'zona_horaria', s.time_zone,
      'dia_completo', s.is_whole, 'vendido_hasta', nexus_engine.iso_utc(s.until),
      'total_vendido', s.total, 'cantidad_ventas', s.tickets, 'ticket_promedio', round(s.total / s.tickets, 2),
      'vendido_sin_devoluciones', s.total + s.refunded, 'tickets_sin_devoluciones', s.tickets - s.refunds,
      'devoluciones', s.refunded, 'cantidad_devoluciones', s.refunds, 'pendiente_de_cobro', s.pending,
      'promedio_mismo_dia', u.average, 'semanas_comparadas', coalesce(u.weeks, 0),
      'cambio_porcentaje', c.change, 'filas_excluidas', s.unusable),
    null::bigint
  from sold s
  left join usual u on u.tienda_id = s.tienda_id
  cross join lateral (
    select case when s.tickets > s.refunds then nexus_engine.change_percent(s.total, u.average) end as change
  ) c
$$;
