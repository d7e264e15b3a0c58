set local role nexus_owner;

-- The outbox is emptied store by store, each from its oldest event on. One index as before, so that a
-- crossing costs the sale no more.
alter table nexus_engine.stock_event drop constraint stock_event_pkey;
create index stock_event_tienda on nexus_engine.stock_event (tienda_id, id);
-- Rows live here for milliseconds: what is deleted must not pile up until a fifth of the table is dead.
alter table nexus_engine.stock_event set (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_threshold = -1);

-- A product of a store.
create type nexus_engine.product_ref as (tienda_id uuid, producto_id uuid);
