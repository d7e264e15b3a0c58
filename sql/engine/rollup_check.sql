-- Comparing the rollups with the tickets they were made of, and repairing them.

-- Rolls a store up, then compares all its rollups with its tickets, repairs them and returns the
-- differences: there are none, unless a mark is missing. Waits for another worker's lock.
create or replace function nexus_engine.rebuild_rollups(p_tienda_id uuid)
returns table (rollup text, tienda_id uuid, day date, was jsonb, now jsonb)
language plpgsql set row_security = off
as $$
begin
  return query select * from nexus_engine.check_rollups(array[p_tienda_id], date '1900-01-01', 1, 0);
end;
$$;

-- Rolls these stores up, then compares those of their days from p_from on, or whose number modulo
-- p_modulus is p_rest, with the tickets, repairs them and returns the differences. Nothing when
-- days may not be rolled up, see begin_roll_up.
create or replace function nexus_engine.check_rollups(p_tiendas uuid[], p_from date, p_modulus int, p_rest int)
returns table (rollup text, tienda_id uuid, day date, was jsonb, now jsonb)
language plpgsql set row_security = off
as $$
declare
  until timestamptz := nexus_engine.begin_roll_up();
begin
  if until is not null then
    perform nexus_engine.lock_rollups(p_tiendas);
    return query select * from nexus_engine.compare_rollups(p_tiendas, until, p_from, p_modulus, p_rest);
  end if;
end;
$$;

-- Waits for those who write the rollups of these stores. In a statement of its own, as lock_stores.
create or replace function nexus_engine.lock_rollups(p_tiendas uuid[]) returns void
language plpgsql
as $$
begin
  perform pg_advisory_xact_lock(k.key)
  from (select nexus_engine.rollup_lock(t) as key from unnest(p_tiendas) t order by 1) k;
end;
$$;

-- Those of these stores whose rollups nobody else is writing, locked.
create or replace function nexus_engine.try_lock_rollups(p_tiendas uuid[]) returns uuid[]
language plpgsql
as $$
begin
  return array(
    select t from unnest(p_tiendas) with ordinality u (t, n)
    where pg_try_advisory_xact_lock(nexus_engine.rollup_lock(t)) order by n);
end;
$$;

-- check_rollups of stores whose locks the caller has taken. Of those with differences no mark told that their
-- sales changed, so that is noted here.
create or replace function nexus_engine.compare_rollups(
  p_tiendas uuid[], p_until timestamptz, p_from date, p_modulus int, p_rest int
) returns table (rollup text, tienda_id uuid, day date, was jsonb, now jsonb)
language plpgsql set row_security = off
as $$
#variable_conflict use_column
declare
  spans nexus_engine.store_days[];
begin
  perform nexus_engine.roll_up_locked(p_tiendas, p_until);
  select array_agg(row(r.tienda_id, d.day, d.day)::nexus_engine.store_days) into spans
  from nexus_engine.rollup_state r
  cross join lateral (
    select least(
        (select min(o.day) from nexus_engine.rollup o where o.tienda_id = r.tienda_id),
        (select (min(v.fecha) at time zone r.time_zone)::date from public.ventas v
          where v.tienda_id = r.tienda_id and v.fecha >= timestamptz '1900-01-01 00:00:00Z')) as first_day,
      greatest(r.through, (select max(o.day) from nexus_engine.rollup o where o.tienda_id = r.tienda_id)) as last_day
  ) b
  cross join lateral (
    select b.first_day + n as day from generate_series(0, b.last_day - b.first_day) n
  ) d
  where r.tienda_id = any (p_tiendas) and (d.day >= p_from or (d.day - date '2000-01-01') % p_modulus = p_rest);
  return query
    with difference as materialized (select d.* from nexus_engine.recompute_days(spans) d),
    noted as (select nexus_engine.note_sales_changed(array(select distinct d.tienda_id from difference d), false))
    select d.* from difference d cross join noted;
end;
$$;

-- check_rollups for the next p_limit stores after p_after, by id: their last eight days, and every
-- p_modulus-th of the others, another one each night.
--   returns the last of the stores, null when there are no more; how many; how many rows differed; and
--     the stores for which that failed, see roll_up_isolated. A store that another worker is rolling up, or
--     of which another session keeps rows locked, is marked, so that it will be rolled up whole.
create or replace function nexus_engine.compare_rollups_batch(
  p_after uuid, p_limit int, p_modulus int, p_as_of timestamptz,
  out last_store uuid, out stores int, out repaired int, out failed uuid[]
) language plpgsql set row_security = off
as $$
declare
  tiendas uuid[] := array(
    select t.id from public.tiendas t where p_after is null or t.id > p_after order by t.id limit p_limit);
  today date := (p_as_of at time zone 'UTC')::date;
  until timestamptz := nexus_engine.begin_roll_up();
  free uuid[];
  left_out uuid[];
begin
  stores := cardinality(tiendas);
  last_store := tiendas[stores];
  repaired := 0; failed := '{}';
  if until is not null and stores > 0 then
    free := nexus_engine.try_lock_rollups(tiendas);
    select r.changed, r.failed, r.left_out into repaired, failed, left_out
    from nexus_engine.roll_up_stores(free, until, today - 8, p_modulus, (today - date '2000-01-01') % p_modulus) r;
    insert into nexus_engine.sale_mark (tienda_id, at)
    select t, '-infinity' from unnest(tiendas) t where t <> all (free) or t = any (left_out);
  end if;
end;
$$;
