-- Reading sales by business day: from the rollups where they are known to be exact, from the tickets
-- where not (the open day, one that closed this moment, a day with marks). The answer is the same,
-- in every state of the rollups: marks, rollups, settings and tickets are read from one snapshot.

-- The business days of a store from p_first to p_last, as far as they begin before p_until.
--   ends_at: the end of the day, or p_until where that is earlier.
--   is_rolled: whether the rollups say all of this day that lies before p_until.
create or replace function nexus_engine.sale_days(
  p_tienda_id uuid, p_first date, p_last date, p_until timestamptz
) returns table (day date, starts_at timestamptz, ends_at timestamptz, is_rolled boolean, time_zone text)
language sql stable parallel safe
as $$
  select d.day, d.starts_at, least(d.ends_at, p_until),
    coalesce(d.day <= r.through and d.ends_at <= p_until and not d.day = any (m.days), false), s.time_zone
  from nexus_engine.store s
  left join nexus_engine.rollup_state r on r.tienda_id = s.tienda_id
    and r.time_zone = s.time_zone and r.day_starts_at = s.day_starts_at
    and r.counted_pending_methods = s.counted_pending_methods
    and (select nexus_engine.attached())
    and not exists (select from nexus_engine.sale_mark m where m.tienda_id = p_tienda_id and m.at = '-infinity')
  cross join lateral (
    select array(
      select nexus_engine.latest_local_day(s.day_starts_at, s.time_zone, i.at)
      from nexus_engine.sale_mark m
      cross join lateral (
        values (coalesce(m.at, (select v.fecha from public.ventas v where v.id = m.venta_id))), (m.at + interval '1 hour' - interval '1 microsecond')
      ) i (at)
      where m.tienda_id = p_tienda_id
        and i.at between timestamptz '1899-12-01 00:00:00Z' and timestamptz '3000-02-01 00:00:00Z') as days
    offset 0
  ) m
  cross join lateral (
    select l.day,
      nexus_engine.local_instant(l.day, s.day_starts_at, s.time_zone) as starts_at,
      nexus_engine.local_instant(l.day + 1, s.day_starts_at, s.time_zone) as ends_at
    from (select p_first + n as day from generate_series(0, p_last - p_first) n) l
    offset 0
  ) d
  where s.tienda_id = p_tienda_id and d.starts_at < p_until
  -- Inlined into a query, but as it stands: else each of its columns is computed again at every use.
  offset 0
$$;

-- What the business days of a store from p_first to p_last brought before p_until, those without
-- sales as well. Amounts are pesos in exact cents.
--   unusable: tickets of that date left out, see nexus_engine.sale.
--   pending: how much of the total may still be missing, see nexus_engine.is_pending.
--   refunds, refunded: tickets with a negative total, which are among tickets, and what they gave back.
create or replace function nexus_engine.sold_by_day_v2(p_tienda_id uuid, p_first date, p_last date, p_until timestamptz)
returns table (
  day date, total numeric, tickets bigint, unusable bigint, pending numeric, refunds bigint, refunded numeric
) language sql stable parallel safe
as $$
  select d.day, coalesce(r.total, t.total, 0), coalesce(r.tickets, t.tickets, 0), coalesce(r.unusable, t.unusable, 0),
    coalesce(r.pending, t.pending, 0), coalesce(r.refunds, t.refunds, 0), coalesce(r.refunded, t.refunded, 0)
  from nexus_engine.sale_days(p_tienda_id, p_first, p_last, p_until) d
  left join lateral (
    select r.* from nexus_engine.store_day r where d.is_rolled and r.tienda_id = p_tienda_id and r.day = d.day offset 0
  ) r on true
  cross join lateral (
    select sum(v.total) as total, count(v.total) as tickets, count(*) - count(v.total) as unusable,
      sum(v.total) filter (where v.is_pending) as pending,
      count(*) filter (where v.total < 0) as refunds, -sum(v.total) filter (where v.total < 0) as refunded
    from (
      select v.total, v.is_pending from nexus_engine.sale v
      where not d.is_rolled and v.tienda_id = p_tienda_id and v.fecha >= d.starts_at and v.fecha < d.ends_at
      -- Else each total is computed anew by each of the sums.
      offset 0
    ) v
  ) t
$$;

-- The same by hour of the store's clock, over all these days.
create or replace function nexus_engine.sold_by_hour(p_tienda_id uuid, p_first date, p_last date, p_until timestamptz)
returns table (hour int, total numeric, tickets bigint)
language sql stable parallel safe
as $$
  with day as materialized (select * from nexus_engine.sale_days(p_tienda_id, p_first, p_last, p_until))
  select s.hour, sum(s.total), sum(s.tickets)::bigint
  from (
    select r.hour::int, r.total, r.tickets
    from day d
    cross join lateral (
      select r.* from nexus_engine.store_hour r where d.is_rolled and r.tienda_id = p_tienda_id and r.day = d.day offset 0
    ) r
    union all
    select extract(hour from v.fecha at time zone d.time_zone)::int, v.total, 1
    from day d
    cross join lateral (
      select v.* from nexus_engine.sale v
      where not d.is_rolled and v.tienda_id = p_tienda_id and v.fecha >= d.starts_at and v.fecha < d.ends_at
      offset 0
    ) v
    where v.total is not null
  ) s
  group by s.hour
$$;

-- The same by method of payment.
create or replace function nexus_engine.sold_by_method_v2(p_tienda_id uuid, p_first date, p_last date, p_until timestamptz)
returns table (metodo_pago text, total numeric, tickets bigint, pending numeric)
language sql stable parallel safe
as $$
  with day as materialized (select * from nexus_engine.sale_days(p_tienda_id, p_first, p_last, p_until))
  select s.metodo_pago, sum(s.total), sum(s.tickets)::bigint, sum(s.pending)
  from (
    select r.metodo_pago, r.total, r.tickets, r.pending
    from day d
    cross join lateral (
      select r.* from nexus_engine.method_day r where d.is_rolled and r.tienda_id = p_tienda_id and r.day = d.day offset 0
    ) r
    union all
    select v.metodo_pago::text, v.total, 1, case when v.is_pending then v.total else 0 end
    from day d
    cross join lateral (
      select v.* from nexus_engine.sale v
      where not d.is_rolled and v.tienda_id = p_tienda_id and v.fecha >= d.starts_at and v.fecha < d.ends_at
      offset 0
    ) v
    where v.total is not null
  ) s
  group by s.metodo_pago
$$;

-- The same by product, from the lines of the tickets; lines without a usable quantity or amount are
-- left out. units: units, or kilos of weighed products. revenue: pesos and cents.
create or replace function nexus_engine.sold_by_product(p_tienda_id uuid, p_first date, p_last date, p_until timestamptz)
returns table (producto_id uuid, units numeric, revenue numeric, tickets bigint)
language sql stable parallel safe
as $$
  with day as materialized (select * from nexus_engine.sale_days(p_tienda_id, p_first, p_last, p_until))
  select s.producto_id, sum(s.units), sum(s.revenue), sum(s.tickets)::bigint
  from (
    select r.producto_id, r.units, r.revenue, r.tickets
    from day d
    cross join lateral (
      select r.* from nexus_engine.product_day r where d.is_rolled and r.tienda_id = p_tienda_id and r.day = d.day offset 0
    ) r
    union all
    select l.producto_id, sum(n.units), sum(n.revenue), count(distinct v.id)
    from day d
    cross join lateral (
      select v.* from nexus_engine.sale v
      where not d.is_rolled and v.tienda_id = p_tienda_id and v.fecha >= d.starts_at and v.fecha < d.ends_at
      offset 0
    ) v
    cross join lateral (
      select l.producto_id, l.cantidad, l.subtotal from public.detalles_venta l where l.venta_id = v.id offset 0
    ) l
    cross join lateral (
      select nexus_engine.quantity(l.cantidad) as units, nexus_engine.money(l.subtotal) as revenue
    ) n
    where v.total is not null and n.units is not null and n.revenue is not null
    group by l.producto_id
  ) s
  group by s.producto_id
$$;
