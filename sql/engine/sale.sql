-- What counts as a sale, decided here and used everywhere: a ticket that is pagado, or pendiente by a method
-- whose pending tickets the store counts. The POS leaves every checkout pendiente, whatever the method, and only
-- its Mercado Pago webhook sets pagado. Never anulado.
--   cash_methods: store.counted_pending_methods; the name is that of the release before.
create or replace function nexus_engine.is_sale(status_pago text, metodo_pago text, cash_methods text[])
returns boolean language sql immutable parallel safe
as $$
  select status_pago = 'pagado' or (status_pago = 'pendiente' and metodo_pago = any (cash_methods))
$$;

-- An amount of money of the POS (double precision, pesos) in exact cents; null for NaN, the
-- infinities and amounts of 100,000 million and more, which no shop takes on one ticket.
create or replace function nexus_engine.money(amount double precision)
returns numeric language sql immutable parallel safe
as $$
  select case when abs(amount) < 1e11 then round(amount::numeric, 2) end
$$;

-- A quantity of the POS (in what nexus_engine.unit_of says) with three decimals at most, halves away from
-- zero; null for NaN, the infinities and quantities of 1,000 million and more. What is left of 0.8 less 0.7
-- less 0.1 is 0 and not 8e-17: stock is this number wherever it is compared, shown or hashed. Its names are
-- bound when it is made, because on_stock_change has the search_path of whoever sells.
create or replace function nexus_engine.quantity(amount double precision)
returns numeric language sql immutable parallel safe
return case when abs(amount) < 1e9 then trim_scale(round(amount::numeric, 3)) end;

-- Whether a ticket is dated more than a day after it was written. Nobody writes one after the year 9999, where
-- a day more may be none of Postgres's.
create or replace function nexus_engine.is_dated_ahead(fecha timestamptz, created_at timestamptz)
returns boolean language sql stable parallel safe
as $$
  select fecha > least(created_at, timestamptz '9999-12-31 00:00Z') + interval '24 hours'
$$;

-- What a ticket brought; null where the row cannot be trusted: not an amount (see money), or dated
-- more than a day after it was written.
create or replace function nexus_engine.ticket_total(total double precision, fecha timestamptz, created_at timestamptz)
returns numeric language sql stable parallel safe
as $$
  select case when not nexus_engine.is_dated_ahead(fecha, created_at) then nexus_engine.money(total) end
$$;

-- Without a setting all methods of the POS count when pending.
create or replace function nexus_engine.default_pending_methods()
returns text[] language sql immutable parallel safe
as $$
  select array['efectivo', 'tarjeta_debito', 'tarjeta_credito', 'transferencia']
$$;

-- Whether the money of a ticket may still be missing: pendiente by another method than cash.
create or replace function nexus_engine.is_pending(status_pago text, metodo_pago text)
returns boolean language sql immutable parallel safe
as $$
  select status_pago = 'pendiente' and metodo_pago <> 'efectivo'
$$;

-- The tickets that count as sales. total is in pesos and cents, null where it cannot be trusted:
-- sum(total) and count(total) leave such rows out, count(*) - count(total) says how many there are.
-- is_pending: see the function.
create or replace view nexus_engine.sale as
select
  v.id,
  v.tienda_id,
  v.fecha,
  v.created_at,
  v.metodo_pago::text as metodo_pago,
  nexus_engine.ticket_total(v.total, v.fecha, v.created_at) as total,
  nexus_engine.is_pending(v.status_pago::text, v.metodo_pago::text) as is_pending
from public.ventas v
left join nexus_engine.store_settings s on s.tienda_id = v.tienda_id
where nexus_engine.is_sale(v.status_pago::text, v.metodo_pago::text, coalesce(s.counted_pending_methods, nexus_engine.default_pending_methods()));
