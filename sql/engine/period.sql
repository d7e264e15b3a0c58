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
  select case
    when nexus_engine.local_instant(d, at, time_zone) <= as_of then d
    when nexus_engine.local_instant(d - 1, at, time_zone) <= as_of then d - 1
    else d - 2
  end
  from (select (as_of at time zone time_zone)::date as d) l
$$;

-- For each of the stores the latest period ('day' or 'week') announced by as_of, or the one `back`
-- periods before it. subject names it for ever: the date of the day, or of the week's first day.
create or replace function nexus_engine.store_period(
  p_period text, p_tiendas uuid[], p_as_of timestamptz, p_back int default 0
) returns table (
  tienda_id uuid, subject text, first_day date, last_day date,
  starts_at timestamptz, ends_at timestamptz, announced_at timestamptz
) language sql stable parallel safe
as $$
  select
    s.tienda_id,
    to_char(d.first_day::timestamp, 'YYYY-MM-DD'),
    d.first_day,
    d.last_day,
    nexus_engine.local_instant(d.first_day - 1, s.summary_time, s.time_zone),
    nexus_engine.local_instant(d.last_day, s.summary_time, s.time_zone),
    case p_period
      when 'day' then nexus_engine.local_instant(d.last_day, s.summary_time, s.time_zone)
      else nexus_engine.local_instant(d.last_day + 1, s.weekly_summary_time, s.time_zone)
    end
  from nexus_engine.store s
  cross join lateral (
    select case p_period
      when 'day' then nexus_engine.latest_local_day(s.summary_time, s.time_zone, p_as_of) - p_back
      else nexus_engine.latest_local_day(s.weekly_summary_time, s.time_zone, p_as_of) - 7 * p_back
    end as day
  ) l
  cross join lateral (
    select
      case p_period when 'day' then l.day
        else l.day - 7 - (extract(isodow from l.day)::int - s.weekly_summary_dow + 7) % 7 end as first_day,
      case p_period when 'day' then l.day
        else l.day - 1 - (extract(isodow from l.day)::int - s.weekly_summary_dow + 7) % 7 end as last_day
  ) d
  where s.tienda_id = any (p_tiendas)
$$;

-- The periods that still want an insight of this type at as_of: the latest one, and older ones that
-- were missed while the engine was already serving the store, none older than the type's max_age.
-- With p_recheck also those that were found empty: a card payment may have come in since.
create or replace function nexus_engine.due_periods(
  p_tipo text, p_tiendas uuid[], p_as_of timestamptz, p_recheck boolean
) returns table (tienda_id uuid, subject text, announced_at timestamptz)
language sql stable
as $$
  with type as (
    select
      it.period,
      (coalesce(it.params ->> 'settle', '0'))::interval as settle,
      (it.params ->> 'max_age')::interval as max_age,
      case it.period when 'day' then 1 else 7 end as days
    from nexus_engine.insight_type it where it.tipo = p_tipo
  )
  select p.tienda_id, p.subject, p.announced_at
  from type t
  cross join lateral generate_series(0, (extract(epoch from t.max_age) / 86400 / t.days)::int) back
  cross join lateral nexus_engine.store_period(t.period, p_tiendas, p_as_of - t.settle, back) p
  left join nexus_engine.open_insight o
    on o.tienda_id = p.tienda_id and o.tipo = p_tipo and o.subject = p.subject
  where (o.subject is null or (p_recheck and o.insight_id is null))
    and p.announced_at > p_as_of - t.max_age
    and (back = 0 or exists (
      select from nexus_engine.open_insight served
      where served.tienda_id = p.tienda_id and served.tipo = p_tipo and served.subject < p.subject))
$$;
