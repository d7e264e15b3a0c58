-- What people have set, to be kept in a file and read back: see npm run export and npm run import. What the
-- engine has computed, told or noted is none of it. Reads and writes no view, and export nothing of the POS's.

-- All of it; lists are in the order of their ids, so that two exports of the same settings are the same.
create or replace function nexus_engine.export_settings() returns json
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select json_build_object(
    'version', 1,
    'stores', coalesce((
      select json_agg(json_build_object('tienda_id', s.tienda_id, 'settings', g.given) order by s.tienda_id)
      from nexus_engine.store_settings s
      -- cash_methods is read by nobody any more.
      cross join lateral jsonb_strip_nulls(to_jsonb(s) - array['tienda_id', 'updated_at', 'cash_methods']) g (given)
      where g.given <> '{}'), '[]'),
    'products', coalesce((
      select json_agg(json_build_object('producto_id', p.producto_id, 'min_stock', p.min_stock) order by p.producto_id)
      from nexus_engine.product_settings p), '[]'),
    'operators', coalesce((select json_agg(o.user_id order by o.user_id) from nexus_engine.operator o), '[]'),
    'insight_types', coalesce((
      select json_agg(json_build_object('tipo', t.tipo, 'enabled', t.enabled, 'params', t.params) order by t.tipo)
      from nexus_engine.insight_type t), '[]'))
$$;

-- Sets what such an object says: the stores in it get exactly these settings, the types these params beside those that
-- they have; whoever is not in it keeps what he has. Doing it twice changes nothing the second time.
-- Returns what was left out, because there is no such store, product, user or type any more.
-- Errors: NX001, with the path of the field.
create or replace function nexus_engine.import_settings(p_settings jsonb)
returns table (path text, value text)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  it record;
  field text;
  problem text;
begin
  for it in
    select format('insight_types[%s]', e.n - 1) as path, t.tipo, (e.type -> 'enabled')::boolean as enabled,
      e.type -> 'params' as params,
      -- Which an update would take, and nobody would read.
      (select min(k) from jsonb_object_keys(e.type -> 'params') k
        where not t.params ? k and not (t.kind = 'period' and k in ('settle', 'max_age', 'kept_true'))) as unknown
    from jsonb_array_elements(p_settings -> 'insight_types') with ordinality e (type, n)
    join nexus_engine.insight_type t on t.tipo = e.type ->> 'tipo'
    order by t.tipo
  loop
    if it.unknown is not null then
      raise exception '%.params.%: expected no param of this name, which % does not have', it.path, it.unknown, it.tipo
        using errcode = 'NX001', column = format('%s.params.%s', it.path, it.unknown);
    end if;
    begin
      update nexus_engine.insight_type t
      set enabled = it.enabled, params = t.params || it.params
      where t.tipo = it.tipo and (t.enabled, t.params) is distinct from (it.enabled, t.params || it.params);
    exception when sqlstate 'NX001' then
      get stacked diagnostics field = column_name, problem = message_text;
      raise exception '%.%', it.path, problem using errcode = 'NX001', column = format('%s.%s', it.path, field);
    end;
  end loop;

  insert into nexus_engine.operator (user_id)
  select u.id from public.users u
  where u.id in (select o::uuid from jsonb_array_elements_text(p_settings -> 'operators') o)
  on conflict do nothing;

  for it in
    select format('stores[%s]', e.n - 1) as path, e.store -> 'settings' as settings, (e.store ->> 'tienda_id')::uuid as tienda_id
    from jsonb_array_elements(p_settings -> 'stores') with ordinality e (store, n)
    where exists (select from public.tiendas t where t.id = (e.store ->> 'tienda_id')::uuid)
    order by tienda_id
  loop
    begin
      perform nexus_engine.import_store(it.tienda_id, it.settings);
    exception when sqlstate 'NX001' then
      get stacked diagnostics field = column_name, problem = message_text;
      raise exception '%.settings.%', it.path, problem
        using errcode = 'NX001', column = format('%s.settings.%s', it.path, field);
    end;
  end loop;

  insert into nexus_engine.product_settings as s (producto_id, tienda_id, min_stock)
  select p.id, p.tienda_id, g.min_stock
  from jsonb_to_recordset(p_settings -> 'products') g (producto_id uuid, min_stock numeric)
  join public.productos p on p.id = g.producto_id
  order by p.id
  on conflict (producto_id) do update set tienda_id = excluded.tienda_id, min_stock = excluded.min_stock, updated_at = now()
    where (s.tienda_id, s.min_stock) is distinct from (excluded.tienda_id, excluded.min_stock);

  return query
    select format('stores[%s].tienda_id', e.n - 1), e.store ->> 'tienda_id'
    from jsonb_array_elements(p_settings -> 'stores') with ordinality e (store, n)
    where not exists (select from public.tiendas t where t.id = (e.store ->> 'tienda_id')::uuid)
    union all
    select format('stores[%s].settings.muted_types', e.n - 1), m
    from jsonb_array_elements(p_settings -> 'stores') with ordinality e (store, n)
    cross join lateral jsonb_array_elements_text(e.store -> 'settings' -> 'muted_types') m
    where not exists (select from nexus_engine.insight_type t where t.tipo = m)
    union all
    select format('products[%s].producto_id', e.n - 1), e.product ->> 'producto_id'
    from jsonb_array_elements(p_settings -> 'products') with ordinality e (product, n)
    where not exists (select from public.productos p where p.id = (e.product ->> 'producto_id')::uuid)
    union all
    select format('operators[%s]', e.n - 1), e.user_id
    from jsonb_array_elements_text(p_settings -> 'operators') with ordinality e (user_id, n)
    where not exists (select from public.users u where u.id = e.user_id::uuid)
    union all
    select format('insight_types[%s].tipo', e.n - 1), e.type ->> 'tipo'
    from jsonb_array_elements(p_settings -> 'insight_types') with ordinality e (type, n)
    where not exists (select from nexus_engine.insight_type t where t.tipo = e.type ->> 'tipo');
end;
$$;
revoke execute on function nexus_engine.import_settings(jsonb) from nexus_worker;

-- The settings of one store: those that are not given go back to their default.
-- Errors: NX001, see nexus_engine.check_store_settings.
create or replace function nexus_engine.import_store(p_tienda_id uuid, p_settings jsonb) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into nexus_engine.store_settings as s (tienda_id, time_zone, summary_time, weekly_summary_dow, weekly_summary_time,
    low_stock_threshold, critical_threshold, lead_time_days, counted_pending_methods, day_starts_at, muted_types)
  select p_tienda_id, g.time_zone, g.summary_time, g.weekly_summary_dow, g.weekly_summary_time,
    g.low_stock_threshold, g.critical_threshold, g.lead_time_days, g.counted_pending_methods, g.day_starts_at,
    case when g.muted_types is not null then array(
      select m from unnest(g.muted_types) with ordinality u (m, n)
      where exists (select from nexus_engine.insight_type t where t.tipo = m) order by n) end
  from jsonb_populate_record(null::nexus_engine.store_settings, p_settings) g
  on conflict (tienda_id) do update set
    (time_zone, summary_time, weekly_summary_dow, weekly_summary_time, low_stock_threshold, critical_threshold,
      lead_time_days, counted_pending_methods, day_starts_at, muted_types)
    = (excluded.time_zone, excluded.summary_time, excluded.weekly_summary_dow, excluded.weekly_summary_time,
      excluded.low_stock_threshold, excluded.critical_threshold, excluded.lead_time_days,
      excluded.counted_pending_methods, excluded.day_starts_at, excluded.muted_types)
    where (s.time_zone, s.summary_time, s.weekly_summary_dow, s.weekly_summary_time, s.low_stock_threshold, s.critical_threshold,
      s.lead_time_days, s.counted_pending_methods, s.day_starts_at, s.muted_types)
    is distinct from (excluded.time_zone, excluded.summary_time, excluded.weekly_summary_dow, excluded.weekly_summary_time,
      excluded.low_stock_threshold, excluded.critical_threshold, excluded.lead_time_days,
      excluded.counted_pending_methods, excluded.day_starts_at, excluded.muted_types)
$$;
revoke execute on function nexus_engine.import_store(uuid, jsonb) from nexus_worker;
