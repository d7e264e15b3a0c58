drop function if exists nexus_api.sales_by_payment_method(date, date);
drop function if exists nexus_engine.sales_by_payment_method(uuid, date, date, timestamptz);
drop type if exists nexus_api.payment_method_sales;

create type nexus_api.payment_method_sales as (
  metodo_pago text, total double precision, tickets int, share_percent double precision, pending double precision
);
comment on type nexus_api.payment_method_sales is 'What was paid by a method.';
comment on column nexus_api.payment_method_sales.metodo_pago is E'@notNull\nAs the POS writes it, such as `tarjeta_debito`.';
comment on column nexus_api.payment_method_sales.total is E'@notNull\nIn pesos and cents.';
comment on column nexus_api.payment_method_sales.tickets is E'@notNull';
comment on column nexus_api.payment_method_sales.share_percent is 'Of the total of all methods, one decimal; null when that is not more than nothing.';
comment on column nexus_api.payment_method_sales.pending is E'@notNull\nHow much of the total is still `pendiente`, in pesos and cents; 0 for `efectivo`, which is money in hand.';

-- What was paid by each method on the business days from p_desde to p_hasta, the largest total first.
-- Arguments and errors as of nexus_engine.report_days.
create function nexus_engine.sales_by_payment_method(p_tienda_id uuid, p_desde date, p_hasta date, p_as_of timestamptz)
returns nexus_api.payment_method_sales[] language sql stable
as $$
  select coalesce(array_agg(row(
      m.metodo_pago, m.total, m.tickets, round(m.total * 100 / nullif(greatest(a.total, 0), 0), 1), m.pending
    )::nexus_api.payment_method_sales order by m.total desc, m.metodo_pago), '{}')
  from nexus_engine.report_days(p_tienda_id, p_desde, p_hasta, p_as_of) r
  cross join lateral nexus_engine.sold_by_method_v2(p_tienda_id, r.desde, r.hasta, r.ends_at) m
  cross join lateral (
    select sum(t.total) as total from nexus_engine.sold_by_day_v2(p_tienda_id, r.desde, r.hasta, r.ends_at) t
  ) a
$$;

-- nexus_engine.sales_by_payment_method for the caller's store, now. Errors: NX001 as there; NX003 without a store.
create function nexus_api.sales_by_payment_method(desde date default null, hasta date default null)
returns nexus_api.payment_method_sales[] language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select nexus_engine.sales_by_payment_method(nexus_engine.require_tienda_id(), desde, hasta, now())
$$;
comment on function nexus_api.sales_by_payment_method(date, date) is E'@notNull\nSales by method of payment on the business days from `desde` to `hasta`, both included, by default the last 30: the methods that were used, the largest total first.';
grant execute on function nexus_api.sales_by_payment_method(date, date) to nexus_tienda;
