-- The marks are left by triggers on the tickets and their lines, see nexus_engine.attach().
grant trigger on public.ventas, public.detalles_venta to nexus_owner;

set local role nexus_owner;

-- What a business day brought, by the date on which it ends; a day without tickets has no row.
-- Amounts are pesos in exact cents. unusable: tickets left out, see the view nexus_engine.sale.
create table nexus_engine.store_day (
  tienda_id uuid not null,
  day date not null,
  total numeric not null,
  tickets integer not null,
  unusable integer not null,
  primary key (tienda_id, day)
);

-- What an hour of the store's clock brought on a business day.
create table nexus_engine.store_hour (
  tienda_id uuid not null,
  day date not null,
  hour smallint not null check (hour between 0 and 23),
  total numeric not null,
  tickets integer not null,
  primary key (tienda_id, day, hour)
);

-- How the tickets of a business day were paid.
create table nexus_engine.method_day (
  tienda_id uuid not null,
  day date not null,
  metodo_pago text not null,
  total numeric not null,
  tickets integer not null,
  primary key (tienda_id, day, metodo_pago)
);

-- What a product brought on a business day. The POS keeps only the present cost of a product, so a
-- cost is computed when it is asked for: kept here, it would depend on when a day was rolled up, and
-- a recomputation could not tell a fault from a new price.
create table nexus_engine.product_day (
  tienda_id uuid not null,
  day date not null,
  producto_id uuid not null,
  units numeric not null,
  revenue numeric not null,
  tickets integer not null,
  primary key (tienda_id, day, producto_id)
);

-- How far a store is rolled up, and with which settings: with others its rollups are worth nothing.
create table nexus_engine.rollup_state (
  tienda_id uuid primary key,
  through date not null,
  next_ends_at timestamptz not null,
  time_zone text not null,
  summary_time time not null,
  cash_methods text[] not null
);
comment on column nexus_engine.rollup_state.through is 'The last business day in the rollups; every day before it is in them too.';
comment on column nexus_engine.rollup_state.next_ends_at is 'When the day after that ends.';

-- Change marks: something changed among the tickets of this store dated in the hour that begins at
-- `at`, or in the lines of this ticket. At -infinity: everything of the store.
create table nexus_engine.sale_mark (
  tienda_id uuid not null,
  at timestamptz,
  venta_id uuid,
  check (num_nonnulls(at, venta_id) = 1)
);
create index sale_mark_tienda on nexus_engine.sale_mark (tienda_id);

-- Up to proved_at every transaction that wrote tickets without a mark has ended. One row; see
-- nexus_engine.note_horizon.
create table nexus_engine.rollup_horizon (
  only_one boolean primary key default true check (only_one),
  proved_at timestamptz,
  candidate_at timestamptz,
  candidate_writers xid8[]
);
insert into nexus_engine.rollup_horizon default values;

-- Instants of a store, and business days of a store, from the first to the last.
create type nexus_engine.store_span as (tienda_id uuid, first_at timestamptz, last_at timestamptz);
create type nexus_engine.store_days as (tienda_id uuid, first_day date, last_day date);

grant insert, update, delete on nexus_engine.store_day, nexus_engine.store_hour, nexus_engine.method_day,
  nexus_engine.product_day, nexus_engine.rollup_state, nexus_engine.sale_mark to nexus_worker;
grant update on nexus_engine.rollup_horizon to nexus_worker;
