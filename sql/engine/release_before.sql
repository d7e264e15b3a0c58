-- What the release before calls while this one is being installed: its workers, its triggers until
-- attach() has made them anew, and its functions where they were under way. The next release drops all
-- of it.

-- Its worker calls this until there is no store left, and so must not be given one that keeps failing.
create or replace function nexus_engine.roll_up(p_limit int, out stores int, out changed int)
language sql
as $$
  select r.stores, r.changed
  from nexus_engine.roll_up_batch(p_limit, array(
    select f.tienda_id from nexus_engine.store_failure f where f.tipo = 'ROLLUP' and f.resolved_at is null)) r
$$;

create or replace function nexus_engine.lock_stores_to_roll_up(p_until timestamptz, p_limit int) returns uuid[]
language sql
as $$
  select nexus_engine.take_stores_to_roll_up(p_until, p_limit, '{}')
$$;

create or replace function nexus_engine.check_rollups_batch(
  p_after uuid, p_limit int, p_modulus int, p_as_of timestamptz,
  out last_store uuid, out stores int, out repaired int
) language sql
as $$
  select c.last_store, c.stores, c.repaired
  from nexus_engine.compare_rollups_batch(p_after, p_limit, p_modulus, p_as_of) c
$$;

create or replace function nexus_engine.drain_stock_events(p_limit int, p_as_of timestamptz)
returns int language plpgsql
as $$
declare
  drained record;
begin
  select * into drained from nexus_engine.drain_outbox(p_limit, p_limit, false, p_as_of);
  if drained.events = 0 and drained.backlogs then
    select * into drained from nexus_engine.drain_outbox(p_limit, p_limit, true, p_as_of);
  end if;
  return drained.events;
end;
$$;

create or replace function nexus_engine.on_sale_insert() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform nexus_engine.mark_hour(new.tienda_id, new.fecha);
  return null;
end;
$$;

create or replace function nexus_engine.make_sale_triggers() returns void
language sql
as $$
  select nexus_engine.make_triggers('public.ventas'), nexus_engine.make_triggers('public.detalles_venta')
$$;

-- Who makes or drops triggers asks for the locks by that, see nexus_engine.try_for_locks().
create or replace function nexus_engine.lock_pos_tables(p_mode text) returns void
language sql
as $$
  select
$$;

drop function if exists nexus_engine.lock_pos_tables_within(text, interval);

create or replace function nexus_engine.wanted_ceiling() returns double precision
language sql stable
as $$
  select nexus_engine.seen_up_to()
$$;

-- No worker makes triggers any more, see nexus_engine.attach().
create or replace function nexus_engine.fit_triggers() returns void
language sql
as $$
  select
$$;

create or replace function nexus_engine.ask_for_triggers(threshold double precision) returns void
language sql
as $$
  select
$$;

create or replace function nexus_engine.es_quantity(value numeric, producto_tipo text)
returns text language sql stable parallel safe
as $$
  select nexus_engine.es_amount(value, nexus_engine.unit_of(producto_tipo, null))
$$;

create or replace function nexus_engine.due_periods(
  p_tipo text, p_tiendas uuid[], p_as_of timestamptz, p_recheck boolean
) returns table (tienda_id uuid, subject text, announced_at timestamptz)
language sql stable
as $$
  select d.tienda_id, d.subject, d.ask_as_of from nexus_engine.due_periods_v2(p_tipo, p_tiendas, p_as_of) d
$$;

create or replace function nexus_engine.sold_by_day(p_tienda_id uuid, p_first date, p_last date, p_until timestamptz)
returns table (day date, total numeric, tickets bigint, unusable bigint)
language sql stable parallel safe
as $$
  select d.day, d.total, d.tickets, d.unusable
  from nexus_engine.sold_by_day_v2(p_tienda_id, p_first, p_last, p_until) d
$$;

create or replace function nexus_engine.sold_by_method(p_tienda_id uuid, p_first date, p_last date, p_until timestamptz)
returns table (metodo_pago text, total numeric, tickets bigint)
language sql stable parallel safe
as $$
  select m.metodo_pago, m.total, m.tickets
  from nexus_engine.sold_by_method_v2(p_tienda_id, p_first, p_last, p_until) m
$$;
