drop function if exists nexus_api.top_productos(date, date, nexus_api.top_productos_order),
  nexus_api.profitability(date, date, nexus_api.profitability_order);
drop function if exists nexus_engine.top_productos(uuid, date, date, nexus_api.top_productos_order, timestamptz),
  nexus_engine.profitability(uuid, date, date, nexus_api.profitability_order, timestamptz);
drop type if exists nexus_api.top_producto, nexus_api.producto_profitability,
  nexus_api.top_productos_order, nexus_api.profitability_order;

create type nexus_api.top_productos_order as enum ('UNITS', 'REVENUE');
comment on type nexus_api.top_productos_order is 'The most first.';

create type nexus_api.profitability_order as enum ('PROFIT', 'MARGIN', 'UNITS');
comment on type nexus_api.profitability_order is 'The most first; products without a usable cost last.';

create type nexus_api.top_producto as (
  producto_id uuid, nombre text, sku text,
  units double precision, revenue double precision, tickets int, unidad text
);
comment on type nexus_api.top_producto is 'What a product brought.';
comment on column nexus_api.top_producto.producto_id is E'@notNull';
comment on column nexus_api.top_producto.nombre is E'@notNull';
comment on column nexus_api.top_producto.sku is E'@notNull';
comment on column nexus_api.top_producto.units is E'@notNull\nHow much was sold, in what `unidad` says.';
comment on column nexus_api.top_producto.unidad is E'@notNull\n`unidad`, or `kg`, `g`, `lt` or `ml` of weighed products.';
comment on column nexus_api.top_producto.revenue is E'@notNull\nIn pesos and cents.';
comment on column nexus_api.top_producto.tickets is E'@notNull\nIn how many tickets it was sold.';

create type nexus_api.producto_profitability as (
  producto_id uuid, nombre text, sku text,
  units double precision, revenue double precision, cost double precision,
  gross_profit double precision, margin_percent double precision, unidad text
);
comment on type nexus_api.producto_profitability is 'What was earned with a product.';
comment on column nexus_api.producto_profitability.producto_id is E'@notNull';
comment on column nexus_api.producto_profitability.nombre is E'@notNull';
comment on column nexus_api.producto_profitability.sku is E'@notNull';
comment on column nexus_api.producto_profitability.units is E'@notNull\nHow much was sold, in what `unidad` says.';
comment on column nexus_api.producto_profitability.unidad is E'@notNull\n`unidad`, or `kg`, `g`, `lt` or `ml` of weighed products.';
comment on column nexus_api.producto_profitability.revenue is E'@notNull\nIn pesos and cents.';
comment on column nexus_api.producto_profitability.cost is 'The units at the present cost of the product: the POS keeps no earlier ones. In pesos and cents; null without a usable cost.';
comment on column nexus_api.producto_profitability.gross_profit is 'Revenue less cost, in pesos and cents; null without a usable cost.';
comment on column nexus_api.producto_profitability.margin_percent is 'Gross profit in percent of the revenue, one decimal; null without a usable cost or without revenue.';

-- The products sold on the business days from p_desde to p_hasta, the most first.
-- Arguments and errors as of nexus_engine.report_days.
create function nexus_engine.top_productos(
  p_tienda_id uuid, p_desde date, p_hasta date, p_order nexus_api.top_productos_order, p_as_of timestamptz
) returns setof nexus_api.top_producto language sql stable
as $$
  select s.producto_id, s.nombre, s.sku, s.units::double precision, s.revenue::double precision, s.tickets::int,
    nexus_engine.unit_of_product(s.producto_id)
  from nexus_engine.report_days(p_tienda_id, p_desde, p_hasta, p_as_of) r
  cross join lateral nexus_engine.product_sales(p_tienda_id, r.desde, r.hasta, r.ends_at) s
  order by case p_order when 'REVENUE' then s.revenue else s.units end desc, s.nombre, s.producto_id
$$;

-- The same products with what they cost at their present precio_costo; those without a usable cost last.
-- Arguments and errors as of nexus_engine.report_days.
create function nexus_engine.profitability(
  p_tienda_id uuid, p_desde date, p_hasta date, p_order nexus_api.profitability_order, p_as_of timestamptz
) returns setof nexus_api.producto_profitability language sql stable
as $$
  select s.producto_id, s.nombre, s.sku, s.units::double precision, s.revenue::double precision,
    s.cost::double precision, (s.revenue - s.cost)::double precision, m.margin::double precision,
    nexus_engine.unit_of_product(s.producto_id)
  from nexus_engine.report_days(p_tienda_id, p_desde, p_hasta, p_as_of) r
  cross join lateral nexus_engine.product_sales(p_tienda_id, r.desde, r.hasta, r.ends_at) s
  cross join lateral (
    select case when s.revenue > 0 then round((s.revenue - s.cost) * 100 / s.revenue, 1) end as margin
  ) m
  order by case p_order when 'MARGIN' then m.margin when 'UNITS' then s.units else s.revenue - s.cost end
    desc nulls last, s.nombre, s.producto_id
$$;

-- nexus_engine.top_productos for the caller's store, now. Errors: NX001 as there; NX003 without a store.
create function nexus_api.top_productos(
  desde date default null, hasta date default null, order_by nexus_api.top_productos_order default 'UNITS'
) returns setof nexus_api.top_producto language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select * from nexus_engine.top_productos(nexus_engine.require_tienda_id(), desde, hasta, order_by, now())
$$;
comment on function nexus_api.top_productos(date, date, nexus_api.top_productos_order) is E'@behavior -queryField:resource:connection +queryField:resource:list\n@notNull\nThe products sold most on the business days from `desde` to `hasta`, both included, by default the last 30.';
grant execute on function nexus_api.top_productos(date, date, nexus_api.top_productos_order) to nexus_tienda;

-- nexus_engine.profitability for the caller's store, now. Errors: NX001 as there; NX003 without a store.
create function nexus_api.profitability(
  desde date default null, hasta date default null, order_by nexus_api.profitability_order default 'PROFIT'
) returns setof nexus_api.producto_profitability language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select * from nexus_engine.profitability(nexus_engine.require_tienda_id(), desde, hasta, order_by, now())
$$;
comment on function nexus_api.profitability(date, date, nexus_api.profitability_order) is E'@behavior -queryField:resource:connection +queryField:resource:list\n@notNull\nWhat was earned with each product sold on the business days from `desde` to `hasta`, both included, by default the last 30.';
grant execute on function nexus_api.profitability(date, date, nexus_api.profitability_order) to nexus_tienda;
