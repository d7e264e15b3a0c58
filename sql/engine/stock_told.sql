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
begin
  return nexus_engine.unwatched_stores(p_tiendas) || array(
    select t from unnest(p_tiendas) t
    where exists (select from nexus_engine.stock_event e where e.tienda_id = t offset 0)
      or exists (select from nexus_engine.stock_recheck r where r.tienda_id = t offset 0));
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
