insert into nexus_engine.insight_type (tipo, kind, period, title, description, params)
values ('VENTAS_DIARIAS', 'period', 'day', 'Ventas del día',
  'What a business day brought: total, tickets, average ticket, and the change against the average of the same weekday in the four weeks before, counting only those on which there were sales.',
  '{"settle": "30 seconds", "max_age": "3 days"}')
on conflict (tipo) do update set kind = excluded.kind, period = excluded.period,
  title = excluded.title, description = excluded.description;

-- Amounts in pesos and cents; fecha_desde and fecha_hasta in UTC, fecha is the store's own date.
-- filas_excluidas: tickets left out because their amount or date cannot be right. A day without
-- sales has no finding.
create or replace function nexus_engine.insight_ventas_diarias(tiendas uuid[], as_of timestamptz)
returns setof nexus_engine.finding language sql stable parallel safe
as $$
  with day as materialized (
    select p.*, s.time_zone, s.summary_time
    from nexus_engine.store_period('day', tiendas, as_of) p
    join nexus_engine.store s on s.tienda_id = p.tienda_id
    where s.is_active
  ),
  sold as (
    select d.tienda_id, d.subject, d.first_day, d.starts_at, d.ends_at, d.time_zone,
      v.total, v.tickets, round(v.total / nullif(v.tickets, 0), 2) as average,
      v.unusable + f.unusable as unusable
    from day d
    cross join lateral (
      select coalesce(sum(v.total), 0) as total, count(v.total) as tickets,
        count(*) - count(v.total) as unusable
      from nexus_engine.sale v
      where v.tienda_id = d.tienda_id and v.fecha >= d.starts_at and v.fecha < d.ends_at
    ) v
    cross join lateral (
      select count(*) as unusable
      from nexus_engine.sale v
      where v.tienda_id = d.tienda_id and v.fecha > d.ends_at + interval '1 day'
        and v.total is null and v.created_at >= d.starts_at and v.created_at < d.ends_at
    ) f
    where v.tickets > 0
  ),
  usual as (
    select d.tienda_id, round(avg(v.total), 2) as average, count(*) as weeks
    from day d
    cross join generate_series(1, 4) week
    cross join lateral nexus_engine.sold_by_day(
      d.tienda_id, d.first_day - 7 * week, d.first_day - 7 * week, d.starts_at) v
    where v.total > 0
    group by d.tienda_id
  )
  select
    s.tienda_id,
    s.subject,
    'BAJA',
    '📈 El ' || nexus_engine.es_weekday(s.first_day) || ' ' || nexus_engine.es_day(s.first_day)
      || ' vendiste ' || nexus_engine.es_money(s.total) || ' en ' || nexus_engine.es_number(s.tickets, 0)
      || case when s.tickets = 1 then ' ticket'
           else ' tickets (promedio ' || nexus_engine.es_money(s.average) || ')' end
      || case
           when c.change is null then '.'
           else case
               when c.change > 0 then ': ' || nexus_engine.es_number(c.change, 1) || ' % más que'
               when c.change < 0 then ': ' || nexus_engine.es_number(-c.change, 1) || ' % menos que'
               else ': lo mismo que'
             end
             || case when u.weeks = 1 then ' el ' || nexus_engine.es_weekday(s.first_day) || ' anterior con ventas'
                  else ' el promedio de tus últimos ' || u.weeks || ' ' || nexus_engine.es_weekday(s.first_day)
                    || case when extract(isodow from s.first_day) in (6, 7) then 's' else '' end
                end
             || ' (' || nexus_engine.es_money(u.average) || ').'
         end,
    jsonb_build_object(
      'fecha', s.first_day, 'fecha_desde', nexus_engine.iso_utc(s.starts_at),
      'fecha_hasta', nexus_engine.iso_utc(s.ends_at), 'zona_horaria', s.time_zone,
      'total_vendido', s.total, 'cantidad_ventas', s.tickets, 'ticket_promedio', s.average,
      'promedio_mismo_dia', u.average, 'semanas_comparadas', coalesce(u.weeks, 0),
      'cambio_porcentaje', c.change, 'filas_excluidas', s.unusable),
    null::bigint
  from sold s
  left join usual u on u.tienda_id = s.tienda_id
  cross join lateral (select nexus_engine.change_percent(s.total, u.average) as change) c
$$;
