set local role nexus_owner;

-- Stores of which everything was told that one stock type has to say. Since then the outbox brings what
-- changes, and passes over stores that have not changed read none of their products.
create table nexus_engine.stock_told (
  tienda_id uuid not null,
  tipo text not null,
  -- The nexus_engine.composition with which it was told.
  composition bigint not null,
  primary key (tienda_id, tipo)
);

grant insert, update, delete on nexus_engine.stock_told to nexus_worker;
