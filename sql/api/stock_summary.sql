drop function if exists nexus_api.stock_summary();
drop function if exists nexus_engine.stock_summary(uuid);
drop type if exists nexus_api.stock_summary;

create type nexus_api.stock_summary as (
  active_productos int, low int, out_of_stock int, negative int,
  value_at_cost double precision, value_at_price double precision, unusable_rows int
);
comment on type nexus_api.stock_summary is 'The stock of the active products.';
comment on column nexus_api.stock_summary.active_productos is E'@notNull';
comment on column nexus_api.stock_summary.low is E'@notNull\nProducts at or below their low stock threshold, but not out of stock.';
comment on column nexus_api.stock_summary.out_of_stock is E'@notNull\nProducts with no stock, the negative ones included.';
comment on column nexus_api.stock_summary.negative is E'@notNull\nProducts of which more was sold than had been entered.';
comment on column nexus_api.stock_summary.value_at_cost is E'@notNull\nWhat the stock cost, in pesos and cents. Negative stock counts as none.';
comment on column nexus_api.stock_summary.value_at_price is E'@notNull\nWhat the stock would sell for, in pesos and cents. Negative stock counts as none.';
comment on column nexus_api.stock_summary.unusable_rows is E'@notNull\nActive products of which stock, cost or price is no usable number; they are left out where it is needed.';

-- The stock of a store, by the same bounds as STOCK_BAJO and PRODUCTO_SIN_STOCK. Values in pesos and
-- cents, each product rounded by itself. The fence (offset 0) keeps each number computed once a row.
create function nexus_engine.stock_summary(p_tienda_id uuid)
returns nexus_api.stock_summary language sql stable
as $$
  select row(
    count(*),
    count(*) filter (where b.band between 1 and 3),
    count(*) filter (where b.band = 4),
    count(*) filter (where v.stock < 0),
    coalesce(sum(round(greatest(v.stock, 0) * v.cost, 2)), 0),
    coalesce(sum(round(greatest(v.stock, 0) * v.price, 2)), 0),
    count(*) filter (where v.stock is null or v.cost is null or v.price is null))::nexus_api.stock_summary
  from nexus_engine.store s
  cross join lateral (
    select p.id, nexus_engine.quantity(p.stock_actual) as stock,
      case when nexus_engine.money(p.precio_costo) is not null then p.precio_costo::numeric end as cost,
      nexus_engine.money(p.precio_venta) as price
    from public.productos p where p.tienda_id = s.tienda_id and p.is_active
    offset 0
  ) v
  left join nexus_engine.product_settings ps on ps.producto_id = v.id
  cross join lateral (
    select nexus_engine.quantity_band(v.stock, coalesce(ps.min_stock, s.low_stock_threshold), s.critical_threshold) as band
    offset 0
  ) b
  where s.tienda_id = p_tienda_id
$$;

-- nexus_engine.stock_summary for the caller's store. Errors: NX003 without a store.
create function nexus_api.stock_summary()
returns nexus_api.stock_summary language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select nexus_engine.stock_summary(nexus_engine.require_tienda_id())
$$;
comment on function nexus_api.stock_summary() is E'@notNull\nHow much stock there is, and of how many products too little.';
grant execute on function nexus_api.stock_summary() to nexus_tienda;
