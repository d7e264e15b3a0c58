-- One row, or none without an active user. Thresholds are double precision, which JSON has.
create or replace view nexus_api.store_settings with (security_barrier) as
select
  s.time_zone,
  s.summary_time,
  s.weekly_summary_dow,
  s.weekly_summary_time,
  s.low_stock_threshold::double precision as low_stock_threshold,
  s.critical_threshold::double precision as critical_threshold,
  s.lead_time_days,
  s.cash_methods,
  s.muted_types,
  s.counted_pending_methods,
  s.day_starts_at,
  c.minutes as pos_clock_skew_minutes
from nexus_engine.store s
left join nexus_engine.pos_clock c on c.tienda_id = s.tienda_id
where s.tienda_id = (select nexus_engine.current_tienda_id());
grant select on nexus_api.store_settings to nexus_tienda;

comment on view nexus_api.store_settings is E'@name store_settings\n@behavior -query:resource:list -query:resource:connection -query:resource:single\nThe settings that apply to the store: its own, else the defaults.';
comment on column nexus_api.store_settings.time_zone is E'@notNull\nIANA name, such as `America/Argentina/Buenos_Aires`.';
comment on column nexus_api.store_settings.summary_time is E'@notNull\nLocal time at which the summary of the day that runs is written; it is completed when the day ends.';
comment on column nexus_api.store_settings.weekly_summary_dow is E'@notNull\nDay of the weekly summary, 1 = Monday to 7 = Sunday.';
comment on column nexus_api.store_settings.weekly_summary_time is E'@notNull\nLocal time of the weekly summary.';
comment on column nexus_api.store_settings.low_stock_threshold is E'@notNull\nStock at or below this is low, in what the `unidad` of the product says. Up to 20, a product that goes there is told of within moments; above, within a minute.';
comment on column nexus_api.store_settings.critical_threshold is E'@notNull\nStock at or below this is critical.';
comment on column nexus_api.store_settings.lead_time_days is E'@notNull\nDays from ordering goods to having them.';
comment on column nexus_api.store_settings.cash_methods is E'@notNull\n@deprecated Use countedPendingMethods.\nThe same as `countedPendingMethods`.';
comment on column nexus_api.store_settings.counted_pending_methods is E'@notNull\nMethods of payment whose tickets count as sold while they are `pendiente`, which the POS leaves every checkout; empty: only `pagado` ones count.';
comment on column nexus_api.store_settings.day_starts_at is E'@notNull\nLocal time at which a business day begins; it bears the date on which it begins.';
comment on column nexus_api.store_settings.muted_types is E'@notNull\nTypes of insight that the store does not want.';
comment on column nexus_api.store_settings.pos_clock_skew_minutes is E'@readOnly\nBy how many minutes the POS dates new tickets ahead of the time (180: its process runs in Argentina''s time zone instead of UTC), negative when behind; null when they are on time.';

-- The caller's settings; all null without an active user.
create or replace function nexus_api.store_settings()
returns nexus_api.store_settings language sql stable set search_path = pg_catalog, pg_temp
as $$
  select * from nexus_api.store_settings
$$;
comment on function nexus_api.store_settings() is E'@notNull\nThe settings that apply to the store: its own, else the defaults.';
grant execute on function nexus_api.store_settings() to nexus_tienda;

-- Changes the given settings of the store and returns those that apply then.
--   patch: an object with columns of nexus_engine.store_settings; a null resets that one to its
--     default, an absent one stays as it is.
-- Errors: NX001, with the column, for an unknown column or a value that would fail later; see also
-- nexus_engine.check_store_settings.
create or replace function nexus_api.update_store_settings(patch jsonb)
returns nexus_api.store_settings language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms'
as $$
declare
  store uuid := nexus_engine.require_tienda_id();
  settings nexus_engine.store_settings;
  given record;
  problem record;
  shown nexus_api.store_settings;
begin
  if jsonb_typeof(patch) is distinct from 'object' then
    raise exception 'patch: expected an object, got %', coalesce(patch::text, 'null')
      using errcode = 'NX001', column = 'patch';
  end if;
  -- The row first, so that of two calls at once the second sees what the first one changed.
  insert into nexus_engine.store_settings (tienda_id) values (store) on conflict do nothing;
  select * into settings from nexus_engine.store_settings s where s.tienda_id = store for update;

  -- cash_methods is the name of the release before.
  if patch ? 'cash_methods' then
    patch := jsonb_build_object('counted_pending_methods', patch -> 'cash_methods') || patch - 'cash_methods';
  end if;
  for given in select e.key as field, e.value from jsonb_each(patch) e loop
    if given.field not in ('time_zone', 'summary_time', 'weekly_summary_dow', 'weekly_summary_time',
      'low_stock_threshold', 'critical_threshold', 'lead_time_days', 'counted_pending_methods', 'day_starts_at',
      'muted_types') then
      raise exception '%: expected a setting of a store, got another name', given.field
        using errcode = 'NX001', column = given.field;
    end if;
    begin
      settings := jsonb_populate_record(settings, jsonb_build_object(given.field, given.value));
    exception when data_exception then
      raise exception '%: expected a value of its type, got %', given.field, given.value
        using errcode = 'NX001', column = given.field;
    end;
  end loop;

  select * into problem
  from (values
    ('summary_time', settings.summary_time < time '24:00', 'a time before 24:00', settings.summary_time::text),
    ('weekly_summary_dow', settings.weekly_summary_dow between 1 and 7,
      'a day from 1 (Monday) to 7 (Sunday)', settings.weekly_summary_dow::text),
    ('weekly_summary_time', settings.weekly_summary_time < time '24:00', 'a time before 24:00', settings.weekly_summary_time::text),
    ('low_stock_threshold', settings.low_stock_threshold between 0 and nexus_engine.highest_threshold(),
      'a number from 0 to 1,000,000', settings.low_stock_threshold::text),
    ('critical_threshold', settings.critical_threshold between 0 and nexus_engine.highest_threshold(),
      'a number from 0 to 1,000,000', settings.critical_threshold::text),
    ('lead_time_days', settings.lead_time_days between 0 and 365, 'a number of days from 0 to 365', settings.lead_time_days::text),
    ('day_starts_at', settings.day_starts_at < time '24:00', 'a time before 24:00', settings.day_starts_at::text),
    ('counted_pending_methods', cardinality(settings.counted_pending_methods) <= 20
      and not exists (
        select from unnest(settings.counted_pending_methods) m where coalesce(m, '') !~ '^\S(.{0,48}\S)?$'),
      'at most 20 names of payment methods', settings.counted_pending_methods::text)
  ) p (field, ok, expected, got)
  where not p.ok limit 1;
  if found then
    raise exception '%: expected %, got %', problem.field, problem.expected, problem.got
      using errcode = 'NX001', column = problem.field;
  end if;

  update nexus_engine.store_settings s
  set time_zone = settings.time_zone, summary_time = settings.summary_time,
    weekly_summary_dow = settings.weekly_summary_dow, weekly_summary_time = settings.weekly_summary_time,
    low_stock_threshold = settings.low_stock_threshold, critical_threshold = settings.critical_threshold,
    lead_time_days = settings.lead_time_days,
    counted_pending_methods = settings.counted_pending_methods, day_starts_at = settings.day_starts_at,
    muted_types = settings.muted_types
  where s.tienda_id = store;
  select * into shown from nexus_api.store_settings;
  return shown;
end;
$$;
comment on function nexus_api.update_store_settings(jsonb) is E'@resultFieldName storeSettings\nChanges the settings that are given; null resets one to its default.';
grant execute on function nexus_api.update_store_settings(jsonb) to nexus_tienda;
