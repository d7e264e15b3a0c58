-- Which stores a pass need not compare, because of their stock everything was told: what happens since is
-- in the outbox. See "What a pass compares" in sql/README.md.

-- The types that the outbox brings up to date, product by product. Each has a function of products, see
-- nexus_engine.product_findings.
create or replace function nexus_engine.followed_types() returns text[]
language sql immutable parallel safe
as $$
  select array['PRODUCTO_SIN_STOCK', 'STOCK_BAJO']
$$;

-- Those of these stores that must be looked at, because what the triggers brought was not told yet, or
-- they do not bring everything. The fences (offset 0) keep to the keys, however full the outbox is.
create or replace function nexus_engine.unsettled_stores(p_tiendas uuid[]) returns uuid[]
language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
declare
  unwatched uuid[] := nexus_engine.unwatched_stores(p_tiendas);
begin
  return unwatched || array(
    select t from unnest(p_tiendas) t
    where t <> all (unwatched) and (exists (select from nexus_engine.stock_event e where e.tienda_id = t offset 0)
      or exists (select from nexus_engine.stock_recheck r where r.tienda_id = t offset 0)));
end;
$$;

-- Those of these stores whose every change of stock the outbox will bring from now on.
create or replace function nexus_engine.watched_stores(p_tiendas uuid[]) returns uuid[]
language sql stable
as $$
  select array(
    select t from unnest(p_tiendas) t
    where t not in (select w from unnest(nexus_engine.unwatched_stores(p_tiendas)) w))
$$;

-- Those of these stores of which something that this type says may not have been told. Of types that
-- the outbox does not bring up to date, all.
create or replace function nexus_engine.untold_stores(p_tipo text, p_tiendas uuid[], p_unsettled uuid[])
returns uuid[] language plpgsql stable
as $$
declare
  present bigint;
begin
  if not p_tipo = any (nexus_engine.followed_types()) then
    return p_tiendas;
  end if;
  present := nexus_engine.composition(p_tipo);
  return array(
    select t from unnest(p_tiendas) with ordinality u (t, n)
    where t in (select s from unnest(p_unsettled) s) or not exists (
      select from nexus_engine.stock_told k
      where k.tienda_id = t and k.tipo = p_tipo and k.composition = present)
    order by n);
end;
$$;

-- Remembers that of these stores everything was told that this type says, but for those where it failed.
-- p_composition is that of before it was asked.
create or replace function nexus_engine.note_told(p_tipo text, p_tiendas uuid[], p_composition bigint)
returns void language sql
as $$
  insert into nexus_engine.stock_told as k (tienda_id, tipo, composition)
  select t, p_tipo, p_composition from unnest(p_tiendas) t
  where not exists (
    select from nexus_engine.store_failure f where f.tienda_id = t and f.tipo = p_tipo and f.resolved_at is null)
  on conflict (tienda_id, tipo) do update set composition = excluded.composition
    where k.composition <> excluded.composition
$$;

-- Of these stores the next pass looks at everything that is low.
create or replace function nexus_engine.forget_told(p_tiendas uuid[]) returns void
language sql
as $$
  delete from nexus_engine.stock_told k where k.tienda_id = any (p_tiendas)
$$;

-- Enqueues a look at the whole stock of the open stores that have a threshold above what the triggers see: every
-- minute, so that their owners hear of a product within that, and other stores pay nothing for it. While no
-- trigger is followed all stores are looked at, by the passes, and this does nothing.
--   returns how many jobs were enqueued, for how many stores.
-- A batch that still waits from the minute before is replaced.
create or replace function nexus_engine.dispatch_unseen(p_batch int, out jobs int, out stores int)
language plpgsql
as $$
declare
  high uuid[];
  specs graphile_worker.job_spec[];
begin
  if nexus_engine.triggers_are_followed() then
    high := array(
      select t.id
      from (
        select s.tienda_id from nexus_engine.store_settings s
        where s.low_stock_threshold > nexus_engine.seen_up_to()::numeric
        union select ps.tienda_id from nexus_engine.product_settings ps where ps.min_stock > nexus_engine.seen_up_to()::numeric
      ) h
      join public.tiendas t on t.id = h.tienda_id and t.is_active
      order by t.id);
  end if;
  stores := coalesce(cardinality(high), 0);
  jobs := 0;
  if stores > 0 then
    select array_agg(row('refresh_stores', json_build_object('tiendas', b.tiendas, 'tipos', nexus_engine.followed_types()),
      null, null, 5, 'unseen:' || b.number, 0, null)::graphile_worker.job_spec)
    into specs from nexus_engine.batches(high, p_batch) b;
    perform graphile_worker.add_jobs(specs, true);
    jobs := cardinality(specs);
  end if;
end;
$$;
