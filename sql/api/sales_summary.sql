drop function if exists nexus_api.sales_summary(date, date);
drop function if exists nexus_engine.sales_summary(uuid, date, date, timestamptz),
  nexus_engine.sales_period(uuid, int, int, timestamptz);
drop type if exists nexus_api.sales_summary;
drop type if exists nexus_api.sales_period, nexus_api.best_seller;

create type nexus_api.best_seller as (producto_id uuid, nombre text, sku text, units double precision, unidad text);
comment on type nexus_api.best_seller is 'The product of which most units were sold.';
comment on column nexus_api.best_seller.producto_id is E'@notNull';
comment on column nexus_api.best_seller.nombre is E'@notNull';
comment on column nexus_api.best_seller.sku is E'@notNull';
comment on column nexus_api.best_seller.units is E'@notNull\nHow much was sold, in what `unidad` says.';
comment on column nexus_api.best_seller.unidad is E'@notNull\n`unidad`, or `kg`, `g`, `lt` or `ml` of weighed products.';

create type nexus_api.sales_period as (
  desde date, hasta date, total double precision, tickets int,
  previous_total double precision, previous_tickets int,
  total_change_percent double precision, tickets_change_percent double precision, pending double precision
);
comment on type nexus_api.sales_period is 'Sales of some business days, beside those of as many days before, up to the same time of day.';
comment on column nexus_api.sales_period.desde is E'@notNull\nThe first business day.';
comment on column nexus_api.sales_period.hasta is E'@notNull\nThe last business day.';
comment on column nexus_api.sales_period.total is E'@notNull\nIn pesos and cents.';
comment on column nexus_api.sales_period.tickets is E'@notNull';
comment on column nexus_api.sales_period.pending is E'@notNull\nHow much of the total is still `pendiente` by other methods than cash, in pesos and cents.';
comment on column nexus_api.sales_period.previous_total is E'@notNull\nTotal of as many days before, in pesos and cents.';
comment on column nexus_api.sales_period.previous_tickets is E'@notNull\nTickets of as many days before.';
comment on column nexus_api.sales_period.total_change_percent is 'Change of the total, one decimal; null when nothing was sold before.';
comment on column nexus_api.sales_period.tickets_change_percent is 'Change of the number of tickets, one decimal; null when nothing was sold before.';

create type nexus_api.sales_summary as (
  desde date, hasta date, total double precision, tickets int, average_ticket double precision,
  most_used_payment_method text, best_seller nexus_api.best_seller, unusable_rows int, pending double precision,
  today nexus_api.sales_period, yesterday nexus_api.sales_period,
  week nexus_api.sales_period, month nexus_api.sales_period
);
comment on type nexus_api.sales_summary is 'How the store sells.';
comment on column nexus_api.sales_summary.desde is E'@notNull\nThe first business day of the report.';
comment on column nexus_api.sales_summary.hasta is E'@notNull\nThe last business day of the report.';
comment on column nexus_api.sales_summary.total is E'@notNull\nIn pesos and cents.';
comment on column nexus_api.sales_summary.tickets is E'@notNull';
comment on column nexus_api.sales_summary.average_ticket is 'In pesos and cents; null without sales.';
comment on column nexus_api.sales_summary.most_used_payment_method is 'By number of tickets, as the POS writes it, such as `efectivo`; null without sales.';
comment on column nexus_api.sales_summary.best_seller is 'Null without sales.';
comment on column nexus_api.sales_summary.pending is E'@notNull\nHow much of the total is still `pendiente` by other methods than cash, in pesos and cents.';
comment on column nexus_api.sales_summary.unusable_rows is E'@notNull\nTickets left out because their amount or their date cannot be right.';
comment on column nexus_api.sales_summary.today is E'@notNull\nThe running business day, whatever the dates of the report.';
comment on column nexus_api.sales_summary.yesterday is E'@notNull\nThe last complete business day.';
comment on column nexus_api.sales_summary.week is E'@notNull\nSeven business days with the running one.';
comment on column nexus_api.sales_summary.month is E'@notNull\nThirty business days with the running one.';

-- Sales of p_length business days, of which the last is p_back days before the one that is running
-- at p_as_of. If the last one is running, the period before is cut at the same local time.
create function nexus_engine.sales_period(p_tienda_id uuid, p_back int, p_length int, p_as_of timestamptz)
returns nexus_api.sales_period language sql stable
as $$
  select row(
    p.desde, p.hasta, s.total, s.tickets, b.total, b.tickets,
    nexus_engine.change_percent(s.total, b.total),
    nexus_engine.change_percent(s.tickets, b.tickets), s.pending)::nexus_api.sales_period
  from nexus_engine.store store
  cross join lateral (
    select d.hasta, d.hasta - p_length + 1 as desde
    from (values (nexus_engine.latest_local_day(store.day_starts_at, store.time_zone, p_as_of) - p_back)) d (hasta)
  ) p
  cross join lateral (
    select least(
      case when p_back = 0
        then ((p_as_of at time zone store.time_zone) - make_interval(days => p_length)) at time zone store.time_zone end,
      nexus_engine.local_instant(p.desde, store.day_starts_at, store.time_zone)) as previous_ends_at
  ) i
  cross join lateral (
    select coalesce(sum(d.total), 0) as total, coalesce(sum(d.tickets), 0) as tickets,
      coalesce(sum(d.pending), 0) as pending
    from nexus_engine.sold_by_day_v2(p_tienda_id, p.desde, p.hasta, p_as_of) d
  ) s
  cross join lateral (
    select coalesce(sum(d.total), 0) as total, coalesce(sum(d.tickets), 0) as tickets
    from nexus_engine.sold_by_day_v2(p_tienda_id, p.desde - p_length, p.desde - 1, i.previous_ends_at) d
  ) b
  where store.tienda_id = p_tienda_id
$$;

-- Totals of the business days from p_desde to p_hasta, and of today, yesterday, week and month.
-- Arguments and errors as of nexus_engine.report_days.
-- Planned once a session: planning takes as long as running it, and with a long history Postgres
-- (from 18 on; before, it plans at every call) thought it worth doing again each time. By index,
-- because that may be while the tables are still empty.
create function nexus_engine.sales_summary(p_tienda_id uuid, p_desde date, p_hasta date, p_as_of timestamptz)
returns nexus_api.sales_summary language sql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
  with days as materialized (
    select * from nexus_engine.report_days(p_tienda_id, p_desde, p_hasta, p_as_of)
  )
  select row(
    d.desde, d.hasta, s.total, s.tickets, round(s.total / nullif(s.tickets, 0), 2),
    (select m.metodo_pago from nexus_engine.sold_by_method_v2(p_tienda_id, d.desde, d.hasta, d.ends_at) m
      order by m.tickets desc, m.metodo_pago limit 1),
    (select row(p.producto_id, p.nombre, p.sku, p.units, nexus_engine.unit_of_product(p.producto_id))::nexus_api.best_seller
      from nexus_engine.product_sales(p_tienda_id, d.desde, d.hasta, d.ends_at) p
      order by p.units desc, p.nombre, p.producto_id limit 1),
    s.unusable + (select count(*) from nexus_engine.tickets_ahead(p_tienda_id, d.starts_at, d.ends_at)),
    s.pending,
    nexus_engine.sales_period(p_tienda_id, 0, 1, p_as_of),
    nexus_engine.sales_period(p_tienda_id, 1, 1, p_as_of),
    nexus_engine.sales_period(p_tienda_id, 0, 7, p_as_of),
    nexus_engine.sales_period(p_tienda_id, 0, 30, p_as_of))::nexus_api.sales_summary
  from days d
  cross join lateral (
    select coalesce(sum(t.total), 0) as total, coalesce(sum(t.tickets), 0) as tickets,
      coalesce(sum(t.unusable), 0) as unusable, coalesce(sum(t.pending), 0) as pending
    from nexus_engine.sold_by_day_v2(p_tienda_id, d.desde, d.hasta, d.ends_at) t
  ) s
$$;

-- nexus_engine.sales_summary for the caller's store, now. Errors: NX001 as there; NX003 without a store.
create function nexus_api.sales_summary(desde date default null, hasta date default null)
returns nexus_api.sales_summary language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select nexus_engine.sales_summary(nexus_engine.require_tienda_id(), desde, hasta, now())
$$;
comment on function nexus_api.sales_summary(date, date) is E'@notNull\nSales of the business days from `desde` to `hasta`, both included, by default the last 30; and how today, yesterday, the week and the month compare with the time before.';
grant execute on function nexus_api.sales_summary(date, date) to nexus_tienda;
