-- What the reports of sales share: which business days are meant, and the tickets of a span of time.

-- The business days from p_desde to p_hasta of a store, both included, for the reports.
--   p_desde, p_hasta: the store's own dates; null for the 30 business days that end with p_hasta,
--     and for the one that is running at p_as_of.
--   returns one row: the dates, each with the instant at which its day starts; the end of the last,
--     or p_as_of if that is earlier, so that a report never runs ahead of its time.
-- Errors: NX001 for desde after hasta, for more than two years, and for dates of no century of ours.
create or replace function nexus_engine.report_days(
  p_tienda_id uuid, p_desde date, p_hasta date, p_as_of timestamptz,
  out desde date, out hasta date, out days date[], out starts timestamptz[],
  out starts_at timestamptz, out ends_at timestamptz, out time_zone text
) language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  store nexus_engine.store;
begin
  select s.* into store from nexus_engine.store s where s.tienda_id = p_tienda_id;
  time_zone := store.time_zone;
  hasta := coalesce(p_hasta, nexus_engine.latest_local_day(store.day_starts_at, time_zone, p_as_of));
  if hasta not between date '1900-01-01' and date '2999-12-31' then
    raise exception 'hasta: expected a date from 1900 to 2999, got %', hasta
      using errcode = 'NX001', column = 'hasta';
  end if;
  desde := coalesce(p_desde, hasta - 29);
  if desde > hasta then
    raise exception 'desde: expected a date not after hasta (%), got %', hasta, desde
      using errcode = 'NX001', column = 'desde';
  end if;
  if desde < hasta - (366 * 2 - 1) then
    raise exception 'desde: expected at most % days up to hasta (%), got %', 366 * 2, hasta, desde
      using errcode = 'NX001', column = 'desde';
  end if;

  select array_agg(d.day order by d.day),
    array_agg(nexus_engine.local_instant(d.day, store.day_starts_at, store.time_zone) order by d.day)
  into days, starts
  from (select report_days.desde + n as day from generate_series(0, hasta - report_days.desde) n) d;
  starts_at := starts[1];
  ends_at := least(nexus_engine.local_instant(hasta + 1, store.day_starts_at, store.time_zone), p_as_of);
end;
$$;

-- The tickets of a store that count as sales but are dated after a report's end, by more than a day
-- after they were written: a report leaves them out, and counts them at the instant of writing.
create or replace function nexus_engine.tickets_ahead(p_tienda_id uuid, p_from timestamptz, p_until timestamptz)
returns table (at timestamptz)
language sql stable parallel safe
as $$
  select v.created_at
  from nexus_engine.sale v
  where v.tienda_id = p_tienda_id and v.fecha >= p_until and nexus_engine.is_dated_ahead(v.fecha, v.created_at)
    and v.created_at >= p_from and v.created_at < p_until
$$;

-- What each product of a store brought on the business days from p_desde to p_hasta, before p_until.
-- Lines of tickets that cannot be trusted, lines without a usable quantity or amount, and products
-- of other stores are left out.
--   cost: units at the product's present cost, pesos and cents; null if that is no usable amount.
drop function if exists nexus_engine.product_sales(uuid, timestamptz, timestamptz);
create or replace function nexus_engine.product_sales(p_tienda_id uuid, p_desde date, p_hasta date, p_until timestamptz)
returns table (
  producto_id uuid, nombre text, sku text, units numeric, revenue numeric, cost numeric, tickets bigint
) language sql stable parallel safe
as $$
  select p.id, p.nombre::text, p.sku::text, s.units, s.revenue,
    case when nexus_engine.money(p.precio_costo) is not null
      then round(s.units * p.precio_costo::numeric, 2) end,
    s.tickets
  from nexus_engine.sold_by_product(p_tienda_id, p_desde, p_hasta, p_until) s
  join public.productos p on p.id = s.producto_id and p.tienda_id = p_tienda_id
$$;

-- Until this release reports read tickets only.
drop function if exists nexus_engine.tickets(uuid, timestamptz, timestamptz);
