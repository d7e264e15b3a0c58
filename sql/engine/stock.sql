-- The list of products that are low or out, and how it is kept.

-- Makes stock_watch and stock_out of these stores, whose locks the caller holds, equal to what
-- productos says; returns how many products differed. Called nightly, after a change of thresholds,
-- and before each pass while detached.
create or replace function nexus_engine.check_stock_watch(p_tiendas uuid[], p_as_of timestamptz)
returns int language plpgsql set row_security = off
as $$
declare
  repaired int;
begin
  with level as materialized (
    select b.tienda_id, b.producto_id, b.band = 4 as is_out
    from (
      select l.tienda_id, l.producto_id, nexus_engine.stock_band(l.stock_actual, l.low_level, l.critical_level) as band
      from nexus_engine.product_level l
      where l.tienda_id = any (p_tiendas)
      -- So that it is computed once a product.
      offset 0
    ) b
    where b.band > 0
  ),
  difference as materialized (
    select coalesce(l.tienda_id, w.tienda_id) as tienda_id, coalesce(l.producto_id, w.producto_id) as producto_id, l.is_out
    from level l
    full join (select * from nexus_engine.stock_watch where tienda_id = any (p_tiendas)) w
      on w.tienda_id = l.tienda_id and w.producto_id = l.producto_id
    where l.is_out is distinct from w.is_out
  ),
  watched as (
    insert into nexus_engine.stock_watch as w (tienda_id, producto_id, is_out)
    select tienda_id, producto_id, is_out from difference where is_out is not null
    on conflict (tienda_id, producto_id) do update set is_out = excluded.is_out
  ),
  forgotten as (
    delete from nexus_engine.stock_watch w using difference d
    where d.is_out is null and w.tienda_id = d.tienda_id and w.producto_id = d.producto_id
  )
  select count(*) into repaired from difference;

  -- Also where nothing differed: events can have gone without having been read.
  insert into nexus_engine.stock_out (tienda_id, producto_id, out_since)
  select w.tienda_id, w.producto_id, p_as_of from nexus_engine.stock_watch w
  where w.tienda_id = any (p_tiendas) and w.is_out
    and not exists (select from nexus_engine.stock_out o where o.producto_id = w.producto_id and o.back_at is null)
  on conflict (producto_id) where back_at is null do nothing;
  update nexus_engine.stock_out o set back_at = greatest(p_as_of, o.out_since)
  where o.tienda_id = any (p_tiendas) and o.back_at is null
    and not exists (select from nexus_engine.stock_watch w
                    where w.tienda_id = o.tienda_id and w.producto_id = o.producto_id and w.is_out);
  return repaired;
end;
$$;

-- Takes the events of these stores out of the outbox and brings stock_watch and stock_out up to
-- date. Under the stores' locks: of one product the events come in their order.
create or replace function nexus_engine.absorb_stock_events(p_tiendas uuid[])
returns void language plpgsql
as $$
declare
  events nexus_engine.stock_event[];
begin
  if not exists (select from nexus_engine.stock_event e where e.tienda_id = any (p_tiendas)) then
    return;
  end if;
  with taken as (
    delete from nexus_engine.stock_event e where e.tienda_id = any (p_tiendas) returning e.*
  )
  select array_agg(t::nexus_engine.stock_event order by t.id) into events from taken t;
  perform nexus_engine.follow_stock_events(events);
end;
$$;

-- Brings stock_watch and stock_out up to date with these events, in their order, taken out of the
-- outbox under the locks of their stores. Planned once a session, because planning takes ten times as
-- long as following one event; and by index, because that may be while the tables are empty.
create or replace function nexus_engine.follow_stock_events(events nexus_engine.stock_event[])
returns void language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set row_security = off
as $$
declare
  products uuid[] := array(select distinct e.producto_id from unnest(events) e);
  tiendas uuid[] := array(select distinct e.tienda_id from unnest(events) e);
begin
  -- What was out until the first event that brought it back.
  update nexus_engine.stock_out o set back_at = greatest(t.at, o.out_since)
  from (
    select distinct on (e.producto_id) e.producto_id, e.at from unnest(events) e
    where not e.is_out order by e.producto_id, e.id
  ) t
  where o.producto_id = t.producto_id and o.back_at is null;

  -- What went out, to stay or to come back by a later event.
  with turn as (
    select e.*,
      lag(e.is_out, 1, false) over history as was_out,
      min(e.at) filter (where not e.is_out) over (
        history rows between 1 following and unbounded following) as back_at
    from unnest(events) e
    window history as (partition by e.producto_id order by e.id)
  )
  insert into nexus_engine.stock_out (tienda_id, producto_id, out_since, back_at)
  select t.tienda_id, t.producto_id, t.at,
    case when t.back_at is not null then greatest(t.back_at, t.at) end
  from turn t
  where t.is_out and not t.was_out
  on conflict (producto_id) where back_at is null do nothing;

  -- Nothing here is a join that turns quadratic when its plan was made while the tables were small:
  -- an import of 10,000 products then took 14 s.
  with low as materialized (
    select l.tienda_id, l.producto_id, b.band = 4 as is_out
    from nexus_engine.product_level l
    cross join lateral (select nexus_engine.stock_band(l.stock_actual, l.low_level, l.critical_level) as band) b
    where l.producto_id = any (products) and l.tienda_id = any (tiendas) and b.band > 0
  ),
  watched as (
    insert into nexus_engine.stock_watch as w (tienda_id, producto_id, is_out)
    select tienda_id, producto_id, is_out from low
    on conflict (tienda_id, producto_id) do update set is_out = excluded.is_out
      where w.is_out is distinct from excluded.is_out
  )
  delete from nexus_engine.stock_watch w
  where w.tienda_id = any (tiendas) and w.producto_id = any (products)
    and (w.tienda_id, w.producto_id) not in (select tienda_id, producto_id from low);
end;
$$;

-- Which of these stores must be looked at whole, see nexus_engine.stock_recheck, maybe for the last
-- time: what the transactions of that time did is seen by the next statement.
create or replace function nexus_engine.take_rechecks(p_tiendas uuid[])
returns uuid[] language plpgsql
as $$
declare
  stores uuid[];
begin
  if not exists (select from nexus_engine.stock_recheck r where r.tienda_id = any (p_tiendas)) then
    return '{}';
  end if;
  with done as (
    delete from nexus_engine.stock_recheck r
    where r.tienda_id = any (p_tiendas) and r.seen_before <= pg_snapshot_xmin(pg_current_snapshot())
  ),
  seen as (
    update nexus_engine.stock_recheck r set seen_before = pg_snapshot_xmax(pg_current_snapshot())
    where r.tienda_id = any (p_tiendas) and r.seen_before is null
  )
  select array_agg(distinct r.tienda_id) into stores
  from nexus_engine.stock_recheck r where r.tienda_id = any (p_tiendas);
  return coalesce(stores, '{}');
end;
$$;

-- Whether the triggers are there, and every product has been looked at since they were made.
create or replace function nexus_engine.triggers_are_followed() returns boolean
language sql stable
as $$
  select nexus_engine.attached() and exists (select from nexus_engine.stock_ceiling c where c.ceiling >= nexus_engine.seen_up_to())
$$;

-- Those of these stores whose crossings the triggers do not see, or not all of them.
create or replace function nexus_engine.unwatched_stores(p_tiendas uuid[]) returns uuid[]
language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
begin
  if not nexus_engine.triggers_are_followed() then
    return array(select t.id from public.tiendas t where t.id = any (p_tiendas));
  end if;
  return array(
    select s.tienda_id from nexus_engine.store s
    where s.tienda_id = any (p_tiendas) and (s.low_level > nexus_engine.seen_up_to() or s.tienda_id in (
      select ps.tienda_id from nexus_engine.product_settings ps
      where ps.tienda_id = any (p_tiendas) and ps.min_stock > nexus_engine.seen_up_to()::numeric)));
end;
$$;

-- Brings stock_watch up to date for these stores, whose locks the caller holds: by the outbox where
-- the triggers see every crossing, else by looking at every product. What it takes out of the outbox is
-- left to the caller to tell.
create or replace function nexus_engine.update_stock_watch(p_tiendas uuid[], p_as_of timestamptz)
returns void language plpgsql set row_security = off
as $$
declare
  recheck uuid[] := nexus_engine.take_rechecks(p_tiendas) || nexus_engine.unwatched_stores(p_tiendas);
begin
  perform nexus_engine.absorb_stock_events(p_tiendas);
  if cardinality(recheck) > 0 then
    perform nexus_engine.check_stock_watch(recheck, p_as_of);
  end if;
  perform nexus_engine.forget_told(p_tiendas);
end;
$$;

-- Has the store's stock looked at again, by the drain at once.
create or replace function nexus_engine.recheck_stock(p_tienda_id uuid) returns void
language sql
as $$
  insert into nexus_engine.stock_recheck (tienda_id) values (p_tienda_id);
  select pg_notify('nexus_stock', '');
$$;

-- Other thresholds, other bands; and a type that is muted, or no longer, is told of otherwise.
create or replace function nexus_engine.on_settings_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform nexus_engine.recheck_stock(coalesce(new.tienda_id, old.tienda_id));
  return null;
end;
$$;
create or replace trigger check_stock_watch
after insert or delete or update of low_stock_threshold, critical_threshold, muted_types on nexus_engine.store_settings
for each row execute function nexus_engine.on_settings_change();

-- A product's own threshold changed.
-- Errors: NX001 when the product is not one of the store, or the threshold too high.
create or replace function nexus_engine.on_product_settings_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = off
as $$
declare
  changed nexus_engine.product_settings := coalesce(new, old);
begin
  if new.min_stock > nexus_engine.highest_threshold() then
    raise exception 'min_stock: expected a number from 0 to 1,000,000, got %', new.min_stock
      using errcode = 'NX001', column = 'min_stock';
  elsif exists (
    select from public.productos p where p.id = changed.producto_id and p.tienda_id = changed.tienda_id)
  then
    perform nexus_engine.recheck_stock(changed.tienda_id);
  elsif tg_op <> 'DELETE' then
    raise exception 'producto_id: expected a product of the store %, got %', changed.tienda_id, changed.producto_id
      using errcode = 'NX001', column = 'producto_id';
  end if;
  return null;
end;
$$;
create or replace trigger note_threshold
after insert or update or delete on nexus_engine.product_settings
for each row execute function nexus_engine.on_product_settings_change();

-- check_stock_watch for the next p_limit stores after p_after, by id, under the reconciler's locks; the next
-- pass then compares all of what they were told. A store that somebody else is reconciling, or of which
-- another session keeps rows locked, is left to the drain, which then looks at it whole.
-- Returns the last of them, null when there are no more, how many, and how many products differed.
create or replace function nexus_engine.check_stock_batch(
  p_after uuid, p_limit int, p_as_of timestamptz,
  out last_store uuid, out stores int, out repaired int
) language plpgsql set row_security = off
as $$
declare
  tiendas uuid[] := array(
    select t.id from public.tiendas t where p_after is null or t.id > p_after order by t.id limit p_limit);
  free uuid[];
  done record;
begin
  stores := cardinality(tiendas);
  last_store := tiendas[stores];
  free := nexus_engine.try_lock_stores(tiendas);
  select f.* into done
  from nexus_engine.for_stores('stock', 'select to_jsonb(nexus_engine.check_stock_locked($1, $2))', free, p_as_of) f;
  repaired := coalesce((select sum(r::int) from unnest(done.results) r), 0);
  perform nexus_engine.recheck_stock(t) from unnest(tiendas) t where t <> all (free) or t = any (done.held_up || done.unfinished);
end;
$$;

-- check_stock_batch of stores whose locks the caller has taken in an earlier statement.
create or replace function nexus_engine.check_stock_locked(p_tiendas uuid[], p_as_of timestamptz) returns int
language plpgsql set row_security = off
as $$
declare
  repaired int;
  untold uuid[] := array(
    select distinct e.tienda_id from nexus_engine.stock_event e where e.tienda_id = any (p_tiendas));
begin
  -- What is known to the outbox is no difference. The drain tells of it, which finds no event any more.
  perform nexus_engine.absorb_stock_events(untold);
  perform nexus_engine.recheck_stock(t) from unnest(untold) t;
  repaired := nexus_engine.check_stock_watch(p_tiendas, p_as_of);
  perform nexus_engine.forget_told(p_tiendas);
  return repaired;
end;
$$;
