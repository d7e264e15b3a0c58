-- The engine's triggers on the POS's tables are made by nexus_engine.attach().
grant trigger on public.productos to nexus_owner;

set local role nexus_owner;

-- A product's own low-stock threshold, in units or kilos; without a row the store's applies.
create table nexus_engine.product_settings (
  producto_id uuid primary key,
  tienda_id uuid not null,
  min_stock numeric(12, 3) not null check (min_stock >= 0),
  updated_at timestamptz not null default now()
);
create index product_settings_tienda on nexus_engine.product_settings (tienda_id);

-- The outbox: a product crossed into another band, written in the transaction that did it.
create table nexus_engine.stock_event (
  id bigint generated always as identity primary key,
  tienda_id uuid not null,
  producto_id uuid not null,
  is_out boolean not null,
  at timestamptz not null default now()
);

-- The products that are low or out now, so that the stock insights cost what is low, not what exists.
create table nexus_engine.stock_watch (
  tienda_id uuid not null,
  producto_id uuid not null,
  is_out boolean not null,
  primary key (tienda_id, producto_id)
);

-- When products ran out and came back. Append-only: a row is closed once and never changed again.
create table nexus_engine.stock_out (
  id bigint generated always as identity primary key,
  tienda_id uuid not null,
  producto_id uuid not null,
  out_since timestamptz not null,
  back_at timestamptz,
  check (back_at >= out_since)
);
create unique index stock_out_open on nexus_engine.stock_out (producto_id) where back_at is null;
create index stock_out_tienda on nexus_engine.stock_out (tienda_id, out_since);

-- One row while an operator keeps our triggers off the POS's tables.
create table nexus_engine.detached (
  only_one boolean primary key default true check (only_one),
  since timestamptz not null
);

-- The stock above which no product of any store is low: what the trigger's condition was made with.
create table nexus_engine.stock_ceiling (
  only_one boolean primary key default true check (only_one),
  ceiling double precision not null
);

grant insert, update, delete on nexus_engine.stock_event, nexus_engine.stock_watch, nexus_engine.stock_out to nexus_worker;
grant delete on nexus_engine.product_settings to nexus_worker;
