-- Business days and weeks. A business day runs from one summary_time to the next in the store's own
-- time zone and bears the date on which it ends, so that every instant lies in exactly one day,
-- also across daylight saving changes. A business week is the seven business days before the day
-- of the weekly summary.

-- The instant of this local date and time. Postgres moves a time that the clocks skip forward, and
-- takes one reading of a time that they repeat: always the same, so days never overlap.
create or replace function nexus_engine.local_instant(day date, at time, time_zone text)
returns timestamptz language sql immutable parallel safe
as $$
  select (day + at) at time zone time_zone
$$;

-- The latest date whose local time `at` is not after as_of: the local date of as_of, or the one
-- before; or the one before that where a zone skipped a whole day (Pacific/Apia, 2011-12-30).
create or replace function nexus_engine.latest_local_day(at time, time_zone text, as_of timestamptz)
returns date language sql immutable parallel safe
as $$
  -- One expression without a FROM: only such a function is inlined.
  select (as_of at time zone time_zone)::date - case
    when nexus_engine.local_instant((as_of at time zone time_zone)::date, at, time_zone) <= as_of then 0
    when nexus_engine.local_instant((as_of at time zone time_zone)::date - 1, at, time_zone) <= as_of then 1
    else 2
  end
$$;

-- For each of the stores the periods ('day' or 'week') that are as far back as p_backs say: 0 is the
-- latest one announced by as_of, 1 the one before it. subject names it for ever: the date of the day,
-- or of the week's first day.
create or replace function nexus_engine.store_periods(
  p_period text, p_tiendas uuid[], p_as_of timestamptz, p_backs int[]
) returns table (
  back int, tienda_id uuid, subject text, first_day date, last_day date,
  starts_at timestamptz, ends_at timestamptz, announced_at timestamptz
) language sql stable parallel safe
as $$
  select
    d.back,
    d.tienda_id,
    to_char(d.first_day::timestamp, 'YYYY-MM-DD'),
    d.first_day,
    d.last_day,
    nexus_engine.local_instant(d.first_day - 1, d.summary_time, d.time_zone),
    nexus_engine.local_instant(d.last_day, d.summary_time, d.time_zone),
    case p_period
      when 'day' then nexus_engine.local_instant(d.last_day, d.summary_time, d.time_zone)
      else nexus_engine.local_instant(d.last_day + 1, d.weekly_summary_time, d.time_zone)
    end
  from (
    select b.back, l.tienda_id, l.summary_time, l.weekly_summary_time, l.time_zone,
      case p_period when 'day' then l.day - b.back
        else l.day - 7 * b.back - 7 - (extract(isodow from l.day)::int - l.weekly_summary_dow + 7) % 7 end as first_day,
      case p_period when 'day' then l.day - b.back
        else l.day - 7 * b.back - 1 - (extract(isodow from l.day)::int - l.weekly_summary_dow + 7) % 7 end as last_day
    from (
      select s.tienda_id, s.summary_time, s.weekly_summary_time, s.weekly_summary_dow, s.time_zone,
        case p_period
          when 'day' then nexus_engine.latest_local_day(s.summary_time, s.time_zone, p_as_of)
          else nexus_engine.latest_local_day(s.weekly_summary_time, s.time_zone, p_as_of)
        end as day
      from nexus_engine.store s
      where s.tienda_id = any (p_tiendas)
      -- Keeps the days from being computed anew in every expression that uses them.
      offset 0
    ) l
    cross join unnest(p_backs) b (back)
    offset 0
  ) d
$$;

-- For each of the stores the latest period announced by as_of, or the one `back` periods before it.
create or replace function nexus_engine.store_period(
  p_period text, p_tiendas uuid[], p_as_of timestamptz, p_back int default 0
) returns table (
  tienda_id uuid, subject text, first_day date, last_day date,
  starts_at timestamptz, ends_at timestamptz, announced_at timestamptz
) language sql stable parallel safe
as $$
  select p.tienda_id, p.subject, p.first_day, p.last_day, p.starts_at, p.ends_at, p.announced_at
  from nexus_engine.store_periods(p_period, p_tiendas, p_as_of, array[p_back]) p
$$;

-- The periods that still want an insight of this type at as_of: the latest one, and older ones that
-- were missed while the engine was already serving the store, none older than the type's max_age.
-- With p_recheck also those that were found empty: a card payment may have come in since.
create or replace function nexus_engine.due_periods(
  p_tipo text, p_tiendas uuid[], p_as_of timestamptz, p_recheck boolean
) returns table (tienda_id uuid, subject text, announced_at timestamptz)
-- Planned once a session, because planning takes ten times as long as running it for one store; and
-- by index, because that may be while open_insight is still empty.
language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  it record;
  backs int[];
begin
  select t.period,
    coalesce(t.params ->> 'settle', '0')::interval as settle,
    (t.params ->> 'max_age')::interval as max_age
  into it
  from nexus_engine.insight_type t where t.tipo = p_tipo;
  -- An array, of which the planner expects ten rows; of generate_series it expects a thousand.
  backs := array(select generate_series(
    0, floor(extract(epoch from it.max_age) / 86400 / case it.period when 'day' then 1 else 7 end)::int));
  return query
    select p.tienda_id, p.subject, p.announced_at
    from nexus_engine.store_periods(it.period, p_tiendas, p_as_of - it.settle, backs) p
    left join nexus_engine.open_insight o
      on o.tienda_id = p.tienda_id and o.tipo = p_tipo and o.subject = p.subject
    where (o.subject is null or (p_recheck and o.insight_id is null))
      and p.announced_at > p_as_of - it.max_age
      and (p.back = 0 or exists (
        select from nexus_engine.open_insight served
        where served.tienda_id = p.tienda_id and served.tipo = p_tipo and served.subject < p.subject));
end;
$$;
