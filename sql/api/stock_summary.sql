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

-- What a stock (see nexus_engine.shown_quantity) is worth at an amount of money, in cents, rounded by itself:
-- 0 for a negative stock, null where either is unusable, and no more than all shops together have. In
-- whole numbers where the amount is whole cents and neither is large, which takes a tenth of the time; else
-- by decimals, as nexus_engine.money has it.
create or replace function nexus_engine.stock_value(stock double precision, amount double precision)
returns bigint language sql immutable parallel safe
as $$
  select case
    when stock is null or not abs(amount) < 1e11 then null
    when stock <= 0 then 0
    when stock < 1e5 and abs(amount) < 1e7 and round(amount * 100) / 100 = amount
      then (2 * round(stock * 1000)::bigint * abs(round(amount * 100))::bigint + 1000) / 2000 * sign(amount)::bigint
    else (100 * greatest(least(round(nexus_engine.quantity(stock) * amount::numeric, 2), 9e16), -9e16))::bigint
  end
$$;

-- The stock of a store, by the same bounds as STOCK_BAJO and PRODUCTO_SIN_STOCK. Values in pesos and
-- cents, each product rounded by itself. The fence (offset 0) computes each product's stock once.
create function nexus_engine.stock_summary(p_tienda_id uuid)
returns nexus_api.stock_summary language sql stable
as $$
  select row(
    count(*),
    count(*) filter (where v.stock > 0 and v.stock <= coalesce(ps.min_stock::double precision, s.low_level)),
    count(*) filter (where v.stock <= 0),
    count(*) filter (where v.stock < 0),
    coalesce(sum(nexus_engine.stock_value(v.stock, v.cost)), 0) / 100,
    coalesce(sum(nexus_engine.stock_value(v.stock, v.price)), 0) / 100,
    count(*) filter (where (v.stock is not null and abs(v.cost) < 1e11 and abs(v.price) < 1e11) is not true)
  )::nexus_api.stock_summary
  from nexus_engine.store s
  cross join lateral (
    select p.id, nexus_engine.shown_quantity(p.stock_actual) as stock, p.precio_costo as cost, p.precio_venta as price
    from public.productos p
    where p.tienda_id = s.tienda_id and p.is_active offset 0
  ) v
  left join nexus_engine.product_settings ps on ps.producto_id = v.id
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
