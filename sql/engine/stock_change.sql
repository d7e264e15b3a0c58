-- What a sale writes of ours, and whoever else changes products: the functions of the triggers on
-- productos, and the lock that says whether a drain is awake.

-- Held by a drain that looks into the outbox every few milliseconds.
create or replace function nexus_engine.awake_lock() returns bigint
language sql immutable parallel safe
as $$
  select 7041948526
$$;

-- Wakes the drains at commit, unless one is awake and looks by itself (see nexus_engine.stay_awake): a
-- NOTIFY makes commits take turns. Asked of the lock and not of the outbox, whose dead rows would have to be
-- read for that. Returns whether it rang. One expression, so that it is inlined into a checkout, and with
-- its names bound when it is made, because that has the search_path of whoever sells.
create or replace function nexus_engine.ring_drains() returns boolean
language sql
return case when pg_try_advisory_lock_shared(nexus_engine.awake_lock())
  then pg_advisory_unlock_shared(nexus_engine.awake_lock()) and pg_notify('nexus_stock', '') is not null
  else false
end;

-- After a product's stock or is_active changed, where its stock is or was at most nexus_engine.seen_up_to()
-- (the trigger's condition): one row into the outbox, for the drain to look at the
-- product. Whether it is in another band, or how it is to be told, is not asked here: every microsecond
-- is one of a checkout, and looking thresholds up takes nearly as long as noting. Only above the usual
-- threshold, where few stores have products that are low, they are, so that the sales of all others do not
-- note what nobody wants to know. What rounds to a threshold is less than a thousandth above it.
-- Takes no lock that another sale waits for, and cannot fail the sale: what goes wrong is a warning.
-- Without a search_path of its own, which costs as much as the call, and so with every name qualified.
create or replace function nexus_engine.on_stock_change() returns trigger
language plpgsql security definer
as $$
declare
  lowest double precision := least(old.stock_actual, new.stock_actual) operator(pg_catalog.-) 0.001;
begin
  -- Apart from the look-up: a condition with a query in it is run as one, also where it is not needed.
  if lowest operator(pg_catalog.>) nexus_engine.default_low_threshold()::double precision then
    if not exists (
      select from nexus_engine.store_settings s
      where s.tienda_id operator(pg_catalog.=) new.tienda_id
        and s.low_stock_threshold::double precision operator(pg_catalog.>=) lowest
      union all
      select from nexus_engine.product_settings ps
      where ps.producto_id operator(pg_catalog.=) new.id
        and ps.min_stock::double precision operator(pg_catalog.>=) lowest)
    then
      return null;
    end if;
  end if;
  insert into nexus_engine.stock_event (tienda_id, producto_id, is_out)
  values (new.tienda_id, new.id, new.is_active and nexus_engine.is_out(new.stock_actual));
  perform nexus_engine.ring_drains();
  return null;
exception when others then
  raise warning 'nexus: a change of stock was not noted: %', sqlerrm;
  return null;
end;
$$;

-- After a product was added or deleted, or got another name, sku, unit or store, where its stock is or was
-- at most nexus_engine.seen_up_to(): as above. What a store has lost is noted for that store.
create or replace function nexus_engine.on_product_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  lowest double precision := least(old.stock_actual, new.stock_actual) - 0.001;
begin
  if lowest > nexus_engine.seen_up_to()
    or lowest > nexus_engine.default_low_threshold()::double precision and not exists (
      select from nexus_engine.store_settings s
      where s.tienda_id in (old.tienda_id, new.tienda_id) and s.low_stock_threshold::double precision >= lowest
      union all
      select from nexus_engine.product_settings ps
      where ps.producto_id = coalesce(new.id, old.id) and ps.min_stock::double precision >= lowest)
    or tg_op = 'UPDATE' and (old.nombre, old.sku, nexus_engine.unit_of(old.tipo::text, old.atributos), old.tienda_id)
      is not distinct from (new.nombre, new.sku, nexus_engine.unit_of(new.tipo::text, new.atributos), new.tienda_id)
  then
    return null;
  end if;
  if tg_op = 'DELETE' or old.tienda_id <> new.tienda_id then
    insert into nexus_engine.stock_event (tienda_id, producto_id, is_out) values (old.tienda_id, old.id, false);
  end if;
  if tg_op <> 'DELETE' then
    insert into nexus_engine.stock_event (tienda_id, producto_id, is_out)
    values (new.tienda_id, new.id, new.is_active and nexus_engine.is_out(new.stock_actual));
  end if;
  perform nexus_engine.ring_drains();
  return null;
exception when others then
  raise warning 'nexus: a changed product was not noted: %', sqlerrm;
  return null;
end;
$$;

-- After a truncate: every store that had something low, and all of them a while later, because what is loaded then
-- may be loaded with the triggers off, as pg_restore --disable-triggers does.
create or replace function nexus_engine.on_products_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform nexus_engine.recheck_stock(w.tienda_id) from (select distinct k.tienda_id from nexus_engine.stock_watch k) w;
  perform graphile_worker.add_job('check_stock', run_at => now() + interval '30 minutes', job_key => 'check_stock:truncate',
    max_attempts => 10);
  return null;
exception when others then
  raise warning 'nexus: the truncated products were not noted: %', sqlerrm;
  return null;
end;
$$;
