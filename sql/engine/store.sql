-- Every store with the settings that apply to it: its own, else the defaults, which stand here or in the
-- functions that it calls, and nowhere else. low_level and critical_level are the thresholds as double
-- precision, the type of productos.stock_actual: comparing without a cast a row halves the time of the stock
-- scans. What views of ours show of the POS's columns is cast, which costs nothing where they have the type
-- already: so the views stay the same when the POS gives a column another.
create or replace view nexus_engine.store as
select
  t.id as tienda_id,
  t.nombre::text as nombre,
  t.is_active,
  coalesce(s.time_zone, 'America/Argentina/Buenos_Aires') as time_zone,
  coalesce(s.summary_time, time '20:00') as summary_time,
  coalesce(s.weekly_summary_dow, 1)::int as weekly_summary_dow,
  coalesce(s.weekly_summary_time, time '09:00') as weekly_summary_time,
  coalesce(s.low_stock_threshold, nexus_engine.default_low_threshold()) as low_stock_threshold,
  coalesce(s.critical_threshold, nexus_engine.default_critical_threshold()) as critical_threshold,
  coalesce(s.low_stock_threshold, nexus_engine.default_low_threshold())::double precision as low_level,
  coalesce(s.critical_threshold, nexus_engine.default_critical_threshold())::double precision as critical_level,
  coalesce(s.lead_time_days, 7)::int as lead_time_days,
  coalesce(s.counted_pending_methods, nexus_engine.default_pending_methods()) as cash_methods,
  coalesce(s.muted_types, array[]::text[]) as muted_types,
  -- cash_methods is the same by the name of the release before.
  coalesce(s.counted_pending_methods, nexus_engine.default_pending_methods()) as counted_pending_methods,
  coalesce(s.day_starts_at, time '00:00') as day_starts_at
from public.tiendas t
left join nexus_engine.store_settings s on s.tienda_id = t.id;

-- The active products of all stores with the thresholds that apply: the product's own, else the
-- store's. A critical threshold above the product's own low one gives way to that.
create or replace view nexus_engine.product_level as
select
  p.id as producto_id,
  p.tienda_id,
  p.nombre::text as nombre,
  p.sku::text as sku,
  p.tipo::text as tipo,
  p.stock_actual::double precision as stock_actual,
  coalesce(ps.min_stock, s.low_stock_threshold) as low_stock_threshold,
  coalesce(ps.min_stock::double precision, s.low_level) as low_level,
  s.critical_level
from nexus_engine.store s
join public.productos p on p.tienda_id = s.tienda_id
left join nexus_engine.product_settings ps on ps.producto_id = p.id
where p.is_active;

-- Refuses settings that would fail later, in the middle of the night. A time zone must be a name
-- of pg_timezone_names: abbreviations and POSIX strings such as 'FOO+3' are accepted by Postgres
-- but have no daylight saving or the opposite sign.
create or replace function nexus_engine.check_store_settings() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  low numeric := coalesce(new.low_stock_threshold, nexus_engine.default_low_threshold());
  critical numeric := coalesce(new.critical_threshold, nexus_engine.default_critical_threshold());
  unknown text;
  high record;
begin
  if new.time_zone is not null
    and (tg_op = 'INSERT' or new.time_zone is distinct from old.time_zone)
    and not exists (select from pg_catalog.pg_timezone_names z where z.name = new.time_zone) then
    raise exception 'time_zone: expected an IANA name such as America/Argentina/Buenos_Aires, got %',
      quote_nullable(new.time_zone) using errcode = 'NX001', column = 'time_zone';
  end if;
  for high in
    select t.field, t.value
    from (values ('low_stock_threshold', new.low_stock_threshold), ('critical_threshold', new.critical_threshold)) t (field, value)
    where t.value > nexus_engine.highest_threshold()
  loop
    raise exception '%: expected a number from 0 to 1,000,000, got %', high.field, high.value
      using errcode = 'NX001', column = high.field;
  end loop;
  if critical > low then
    raise exception 'critical_threshold: expected at most low_stock_threshold (%), got %', low, critical
      using errcode = 'NX001', column = 'critical_threshold';
  end if;
  if cardinality(new.muted_types) > 100 then
    raise exception 'muted_types: expected at most 100 types of insights, got %', cardinality(new.muted_types)
      using errcode = 'NX001', column = 'muted_types';
  end if;
  select m into unknown from unnest(new.muted_types) m
  where m is null or not exists (select from nexus_engine.insight_type it where it.tipo = m) limit 1;
  if found then
    raise exception 'muted_types: expected types of insights, got %',
      quote_nullable(unknown) using errcode = 'NX001', column = 'muted_types';
  end if;
  -- Sets: each value once, in the order in which they came.
  if new.muted_types is not null then
    new.muted_types := array(
      select m from unnest(new.muted_types) with ordinality u (m, n) group by m order by min(n));
  end if;
  if new.counted_pending_methods is not null then
    new.counted_pending_methods := array(
      select m from unnest(new.counted_pending_methods) with ordinality u (m, n) group by m order by min(n));
  end if;
  new.updated_at := now();
  return new;
end;
$$;

create or replace trigger check_store_settings
before insert or update on nexus_engine.store_settings
for each row execute function nexus_engine.check_store_settings();
