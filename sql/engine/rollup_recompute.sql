-- What the rollups should hold, and writing what differs.

-- All rollups, as rows of one shape.
--   key: what a day is divided by: the hour, the method of payment, the product; '' for the day itself.
--   total: of a product its revenue.
--   pending, refunds, refunded: see nexus_engine.sold_by_day_v2.
create or replace view nexus_engine.rollup as
select 'store_day' as rollup, d.tienda_id, d.day, '' as key, d.total, d.tickets, d.unusable, null::numeric as units,
  d.pending, d.refunds, d.refunded
from nexus_engine.store_day d
union all
select 'store_hour', h.tienda_id, h.day, h.hour::text, h.total, h.tickets, null, null, null, null, null from nexus_engine.store_hour h
union all
select 'method_day', m.tienda_id, m.day, m.metodo_pago, m.total, m.tickets, null, null, m.pending, null, null from nexus_engine.method_day m
union all
select 'product_day', p.tienda_id, p.day, p.producto_id::text, p.revenue, p.tickets, null, p.units, null, null, null
from nexus_engine.product_day p;

-- What the release before reads. The next release drops it.
create or replace view nexus_engine.rolled_day as
select r.tienda_id, r.day from nexus_engine.rollup r;

-- Makes the rollups of these days equal to what the tickets say, in one statement, that is from one
-- snapshot, writing only what differs. Returns what it changed: the row that was there and the one
-- that is, null where there is none. Days after rollup_state.through are emptied. The settings are
-- those of rollup_state.
create or replace function nexus_engine.recompute_days(p_spans nexus_engine.store_days[])
returns table (rollup text, tienda_id uuid, day date, was jsonb, now jsonb)
language sql set row_security = off
as $$
  with day as materialized (
    select r.tienda_id, d.day, d.day <= r.through as is_closed, r.time_zone, r.counted_pending_methods,
      nexus_engine.local_instant(d.day, r.day_starts_at, r.time_zone) as starts_at,
      nexus_engine.local_instant(d.day + 1, r.day_starts_at, r.time_zone) as ends_at
    from unnest(p_spans) s
    join nexus_engine.rollup_state r on r.tienda_id = s.tienda_id
    cross join lateral (
      select s.first_day + n as day from generate_series(0, s.last_day - s.first_day) n
    ) d
  ),
  -- The fences (offset 0) keep the planner to the indexes: it cannot know how few days there are.
  ticket as materialized (
    select d.tienda_id, d.day, v.id, v.metodo_pago, v.total, v.is_pending,
      extract(hour from v.fecha at time zone d.time_zone)::int as hour
    from day d
    cross join lateral (
      select v.id, v.fecha, v.metodo_pago::text, nexus_engine.ticket_total(v.total, v.fecha, v.created_at) as total,
        nexus_engine.is_pending(v.status_pago::text, v.metodo_pago::text) as is_pending
      from public.ventas v
      where d.is_closed and v.tienda_id = d.tienda_id and v.fecha >= d.starts_at and v.fecha < d.ends_at
        and nexus_engine.is_sale(v.status_pago::text, v.metodo_pago::text, d.counted_pending_methods)
      offset 0
    ) v
  ),
  line as (
    select t.tienda_id, t.day, t.id, l.producto_id,
      nexus_engine.quantity(l.cantidad) as units, nexus_engine.money(l.subtotal) as revenue
    from ticket t
    cross join lateral (
      select l.producto_id, l.cantidad, l.subtotal from public.detalles_venta l where l.venta_id = t.id offset 0
    ) l
    where t.total is not null
  ),
  computed as (
    select 'store_day' as rollup, t.tienda_id, t.day, '' as key, coalesce(sum(t.total), 0) as total,
      count(t.total)::int as tickets, (count(*) - count(t.total))::int as unusable, null::numeric as units,
      coalesce(sum(t.total) filter (where t.is_pending), 0) as pending,
      (count(*) filter (where t.total < 0))::int as refunds,
      coalesce(-sum(t.total) filter (where t.total < 0), 0) as refunded
    from ticket t group by t.tienda_id, t.day
    union all
    select 'store_hour', t.tienda_id, t.day, t.hour::text, sum(t.total), count(*)::int, null, null, null, null, null
    from ticket t where t.total is not null group by t.tienda_id, t.day, t.hour
    union all
    select 'method_day', t.tienda_id, t.day, t.metodo_pago, sum(t.total), count(*)::int, null, null,
      coalesce(sum(t.total) filter (where t.is_pending), 0), null, null
    from ticket t where t.total is not null group by t.tienda_id, t.day, t.metodo_pago
    union all
    select 'product_day', l.tienda_id, l.day, l.producto_id::text, sum(l.revenue), count(distinct l.id)::int, null, sum(l.units), null, null, null
    from line l where l.units is not null and l.revenue is not null group by l.tienda_id, l.day, l.producto_id
  ),
  change as materialized (
    select coalesce(n.rollup, o.rollup) as rollup, coalesce(n.tienda_id, o.tienda_id) as tienda_id,
      coalesce(n.day, o.day) as day, coalesce(n.key, o.key) as key, n.total, n.tickets, n.unusable, n.units,
      n.pending, n.refunds, n.refunded,
      to_jsonb(o) as was, case when n.rollup is not null then to_jsonb(n) end as now
    from computed n
    full join (
      select r.* from day d
      cross join lateral (
        select r.* from nexus_engine.rollup r where r.tienda_id = d.tienda_id and r.day = d.day offset 0
      ) r
    ) o on o.rollup = n.rollup and o.tienda_id = n.tienda_id and o.day = n.day and o.key = n.key
    where (n.total, n.tickets, n.unusable, n.units, n.pending, n.refunds, n.refunded)
      is distinct from (o.total, o.tickets, o.unusable, o.units, o.pending, o.refunds, o.refunded)
  ),

  store_day as (
    insert into nexus_engine.store_day (tienda_id, day, total, tickets, unusable, pending, refunds, refunded)
    select c.tienda_id, c.day, c.total, c.tickets, c.unusable, c.pending, c.refunds, c.refunded from change c
    where c.rollup = 'store_day' and c.now is not null
    on conflict (tienda_id, day) do update
      set total = excluded.total, tickets = excluded.tickets, unusable = excluded.unusable,
        pending = excluded.pending, refunds = excluded.refunds, refunded = excluded.refunded
  ),
  store_hour as (
    insert into nexus_engine.store_hour (tienda_id, day, hour, total, tickets)
    select c.tienda_id, c.day, c.key::smallint, c.total, c.tickets from change c
    where c.rollup = 'store_hour' and c.now is not null
    on conflict (tienda_id, day, hour) do update set total = excluded.total, tickets = excluded.tickets
  ),
  method_day as (
    insert into nexus_engine.method_day (tienda_id, day, metodo_pago, total, tickets, pending)
    select c.tienda_id, c.day, c.key, c.total, c.tickets, c.pending from change c
    where c.rollup = 'method_day' and c.now is not null
    on conflict (tienda_id, day, metodo_pago) do update
      set total = excluded.total, tickets = excluded.tickets, pending = excluded.pending
  ),
  product_day as (
    insert into nexus_engine.product_day (tienda_id, day, producto_id, units, revenue, tickets)
    select c.tienda_id, c.day, c.key::uuid, c.units, c.total, c.tickets from change c
    where c.rollup = 'product_day' and c.now is not null
    on conflict (tienda_id, day, producto_id) do update
      set units = excluded.units, revenue = excluded.revenue, tickets = excluded.tickets
  ),
  no_store_day as (
    delete from nexus_engine.store_day r using change c
    where c.rollup = 'store_day' and c.now is null and r.tienda_id = c.tienda_id and r.day = c.day
  ),
  no_store_hour as (
    delete from nexus_engine.store_hour r using change c
    where c.rollup = 'store_hour' and c.now is null and r.tienda_id = c.tienda_id and r.day = c.day
      and r.hour = c.key::smallint
  ),
  no_method_day as (
    delete from nexus_engine.method_day r using change c
    where c.rollup = 'method_day' and c.now is null and r.tienda_id = c.tienda_id and r.day = c.day
      and r.metodo_pago = c.key
  ),
  no_product_day as (
    delete from nexus_engine.product_day r using change c
    where c.rollup = 'product_day' and c.now is null and r.tienda_id = c.tienda_id and r.day = c.day
      and r.producto_id = c.key::uuid
  )
  select c.rollup, c.tienda_id, c.day, c.was, c.now from change c
$$;
