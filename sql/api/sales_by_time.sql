drop function if exists nexus_api.sales_by_day(date, date), nexus_api.sales_by_hour(date, date);
drop function if exists nexus_engine.sales_by_day(uuid, date, date, timestamptz),
  nexus_engine.sales_by_hour(uuid, date, date, timestamptz);
drop type if exists nexus_api.sales_day, nexus_api.sales_hour;

create type nexus_api.sales_day as (
  day date, total double precision, tickets int, average_ticket double precision, unusable_rows int,
  pending double precision
);
comment on type nexus_api.sales_day is 'What a business day brought.';
comment on column nexus_api.sales_day.day is E'@notNull\nThe store''s date on which the business day begins.';
comment on column nexus_api.sales_day.total is E'@notNull\nIn pesos and cents; 0 on a day without sales.';
comment on column nexus_api.sales_day.tickets is E'@notNull';
comment on column nexus_api.sales_day.average_ticket is 'In pesos and cents; null on a day without sales.';
comment on column nexus_api.sales_day.pending is E'@notNull\nHow much of the total is still `pendiente` by other methods than cash, in pesos and cents.';
comment on column nexus_api.sales_day.unusable_rows is E'@notNull\nTickets left out because their amount or their date cannot be right.';

create type nexus_api.sales_hour as (
  hour int, total double precision, tickets int, average_ticket double precision
);
comment on type nexus_api.sales_hour is 'What an hour of the day brought, over all days of the report.';
comment on column nexus_api.sales_hour.hour is E'@notNull\n0 to 23 in the store''s time zone; 9 is from 09:00 to before 10:00.';
comment on column nexus_api.sales_hour.total is E'@notNull\nIn pesos and cents.';
comment on column nexus_api.sales_hour.tickets is E'@notNull';
comment on column nexus_api.sales_hour.average_ticket is 'In pesos and cents; null for an hour without sales.';

-- Every business day from p_desde to p_hasta, those without sales as well, in order.
-- Arguments and errors as of nexus_engine.report_days.
create function nexus_engine.sales_by_day(p_tienda_id uuid, p_desde date, p_hasta date, p_as_of timestamptz)
returns nexus_api.sales_day[] language sql stable
as $$
  select array_agg(row(
      d.day, coalesce(s.total, 0), coalesce(s.tickets, 0),
      round(s.total / nullif(s.tickets, 0), 2), coalesce(s.unusable, 0) + coalesce(a.unusable, 0),
      coalesce(s.pending, 0)
    )::nexus_api.sales_day order by d.day)
  from nexus_engine.report_days(p_tienda_id, p_desde, p_hasta, p_as_of) r
  cross join lateral unnest(r.days) with ordinality d (day, n)
  left join lateral nexus_engine.sold_by_day_v2(p_tienda_id, r.desde, r.hasta, r.ends_at) s on s.day = d.day
  left join lateral (
    select width_bucket(t.at, r.starts) as n, count(*) as unusable
    from nexus_engine.tickets_ahead(p_tienda_id, r.starts_at, r.ends_at) t
    group by 1
  ) a on a.n = d.n
$$;

-- The 24 hours of the store's clock, over the business days from p_desde to p_hasta.
-- Arguments and errors as of nexus_engine.report_days.
create function nexus_engine.sales_by_hour(p_tienda_id uuid, p_desde date, p_hasta date, p_as_of timestamptz)
returns nexus_api.sales_hour[] language sql stable
as $$
  select array_agg(row(
      h.hour, coalesce(s.total, 0), coalesce(s.tickets, 0), round(s.total / nullif(s.tickets, 0), 2)
    )::nexus_api.sales_hour order by h.hour)
  from generate_series(0, 23) h (hour)
  left join (
    select t.* from nexus_engine.report_days(p_tienda_id, p_desde, p_hasta, p_as_of) r
    cross join lateral nexus_engine.sold_by_hour(p_tienda_id, r.desde, r.hasta, r.ends_at) t
  ) s on s.hour = h.hour
$$;

-- nexus_engine.sales_by_day for the caller's store, now. Errors: NX001 as there; NX003 without a store.
create function nexus_api.sales_by_day(desde date default null, hasta date default null)
returns nexus_api.sales_day[] language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select nexus_engine.sales_by_day(nexus_engine.require_tienda_id(), desde, hasta, now())
$$;
comment on function nexus_api.sales_by_day(date, date) is E'@notNull\nSales of each business day from `desde` to `hasta`, both included, days without sales as well. A business day runs from one `dayStartsAt` of the store to the next and bears the date on which it begins. By default the last 30, with the one that is running; at most 732.';
grant execute on function nexus_api.sales_by_day(date, date) to nexus_tienda;

-- nexus_engine.sales_by_hour for the caller's store, now. Errors: NX001 as there; NX003 without a store.
create function nexus_api.sales_by_hour(desde date default null, hasta date default null)
returns nexus_api.sales_hour[] language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select nexus_engine.sales_by_hour(nexus_engine.require_tienda_id(), desde, hasta, now())
$$;
comment on function nexus_api.sales_by_hour(date, date) is E'@notNull\nSales by hour of the store''s clock, over the business days from `desde` to `hasta`: always 24 rows. By default the last 30 days.';
grant execute on function nexus_api.sales_by_hour(date, date) to nexus_tienda;
