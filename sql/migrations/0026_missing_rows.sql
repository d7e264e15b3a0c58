set local role nexus_owner;

-- Stores that something of ours is about and that public.tiendas lacked when purge looked. A row goes when the store
-- is seen again, or nothing of ours is left: so between the two times the store was at no look there.
create table nexus_engine.missing_store (
  tienda_id uuid primary key,
  first_missing_at timestamptz not null,
  last_missing_at timestamptz not null,
  -- When it was decided that what is kept about it may go: by purge, where such stores are few, or by an operator.
  given_up_at timestamptz
);

-- The same of products of stores that are there.
create table nexus_engine.missing_product (
  tienda_id uuid not null,
  producto_id uuid not null,
  first_missing_at timestamptz not null,
  last_missing_at timestamptz not null,
  primary key (tienda_id, producto_id)
);

grant insert, update, delete on nexus_engine.missing_store, nexus_engine.missing_product to nexus_worker;
