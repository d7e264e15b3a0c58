-- Business days and weeks. A business day runs from one day_starts_at to the next in the store's own time
-- zone and bears the date on which it begins, so that every instant lies in exactly one day, also across daylight
-- saving changes. summary_time only says when a day is told: the day that runs at that time, or, when it is
-- day_starts_at itself, the one that just ended. A business week is the seven business days before the day of the
-- weekly summary.

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

-- When the summary of a business day is told: at `at`, the first summary_time after it begins, or at its end where
-- the clocks skip that or move it out of the day.
create or replace function nexus_engine.day_announced_at(at timestamptz, starts_at timestamptz, ends_at timestamptz)
returns timestamptz language sql immutable parallel safe
as $$
  select case when at > starts_at and at < ends_at then at else ends_at end
$$;

-- For each of the stores the periods ('day' or 'week') that are as far back as p_backs say: 0 is the
-- latest one announced by as_of, 1 the one before it. subject names it for ever: the date of the day,
-- or of the week's first day. A day is announced before it ends, a week not before that.
create or replace function nexus_engine.store_periods(
  p_period text, p_tiendas uuid[], p_as_of timestamptz, p_backs int[]
) returns table (
  back int, tienda_id uuid, subject text, first_day date, last_day date,
  starts_at timestamptz, ends_at timestamptz, announced_at timestamptz
) language sql stable parallel safe
as $$
  select d.back, d.tienda_id, to_char(d.first_day::timestamp, 'YYYY-MM-DD'), d.first_day, d.last_day, d.starts_at, d.ends_at,
    case p_period when 'day' then nexus_engine.day_announced_at(d.told_at, d.starts_at, d.ends_at)
      else greatest(d.told_at, d.ends_at) end
  from (
    select p.back, p.tienda_id, p.first_day, p.last_day,
      nexus_engine.local_instant(p.first_day, p.day_starts_at, p.time_zone) as starts_at,
      nexus_engine.local_instant(p.last_day + 1, p.day_starts_at, p.time_zone) as ends_at,
      nexus_engine.local_instant(p.last_day + p.told_after, p.told_time, p.time_zone) as told_at
    from (
      select b.back, l.tienda_id, l.day_starts_at, l.time_zone, l.told_time, l.told_after,
        case p_period when 'day' then l.latest - b.back else l.latest - 7 * b.back - 6 end as first_day,
        case p_period when 'day' then l.latest - b.back else l.latest - 7 * b.back end as last_day
      from (
        -- latest: the last day of the latest period that was announced.
        select r.*, case p_period
            when 'day' then r.running - case
              when nexus_engine.day_announced_at(r.told_at, r.starts_at, r.ends_at) > p_as_of then 1 else 0 end
            else r.told_on - 1 - case when greatest(r.told_at, r.starts_at) > p_as_of then 7 else 0 end
          end as latest
        from (
          -- starts_at: of the running day, or of the day on which the week before is told.
          select w.*,
            nexus_engine.local_instant(w.told_on, w.day_starts_at, w.time_zone) as starts_at,
            nexus_engine.local_instant(w.told_on + 1, w.day_starts_at, w.time_zone) as ends_at,
            nexus_engine.local_instant(w.told_on + w.told_after - case p_period when 'day' then 0 else 1 end,
              w.told_time, w.time_zone) as told_at
          from (
            select s.*, case p_period when 'day' then s.running
                else s.running - (extract(isodow from s.running)::int - s.weekly_summary_dow + 7) % 7 end as told_on
            from (
              select t.tienda_id, t.weekly_summary_dow, t.day_starts_at, t.time_zone,
                case p_period when 'day' then t.summary_time else t.weekly_summary_time end as told_time,
                case when p_period = 'day' and t.summary_time > t.day_starts_at then 0 else 1 end as told_after,
                nexus_engine.latest_local_day(t.day_starts_at, t.time_zone, p_as_of) as running
              from nexus_engine.store t
              where t.tienda_id = any (p_tiendas)
              -- Keeps the days and instants from being computed anew in every expression that uses them.
              offset 0
            ) s
            offset 0
          ) w
          offset 0
        ) r
        offset 0
      ) l
      cross join unnest(p_backs) b (back)
      offset 0
    ) p
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

-- The periods of this type that want computing at as_of, of stores that have not muted it, each with the instant
-- as of which to ask the type:
--   1. those that were announced and not told: the latest, and older ones that were missed while the engine was
--      already serving the store, none older than the type's max_age;
--   2. those that were told and are to be looked at again (open_insight.look_again_at), because they were told
--      before they had ended, or while their last sales could still change without a mark; a store's last one
--      up to 60 days later;
--   3. those of stores whose sales changed since (sales_changed): the latest few, as many as the type's params say
--      under `kept_true`, and all that were told where the store's days are others now. Without our triggers no
--      change is noted, and the latest few are always due.
-- A period that has ended is asked for as of its end, or of its announcement where that is later (of a week), one
-- that has not ended as of its announcement: so an answer does not depend on when it is computed. Sales have
-- `settle` to commit.
--   look_again_at: what to write there once it is told.
create or replace function nexus_engine.due_periods_v2(p_tipo text, p_tiendas uuid[], p_as_of timestamptz)
returns table (tienda_id uuid, subject text, ask_as_of timestamptz, look_again_at timestamptz)
-- Planned once a session, because planning takes ten times as long as running it for one store; and
-- by index, because that may be while open_insight is still empty.
language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  it record;
  backs int[];
  speaking uuid[];
  no_marks boolean := not nexus_engine.attached();
begin
  select t.period,
    p_as_of - coalesce(t.params ->> 'settle', '0')::interval as settled,
    p_as_of - (t.params ->> 'max_age')::interval as oldest,
    coalesce((t.params ->> 'kept_true')::int, 1) as kept_true
  into it
  from nexus_engine.insight_type t where t.tipo = p_tipo;
  speaking := array(
    select s.tienda_id from nexus_engine.store s
    where s.tienda_id = any (p_tiendas) and not p_tipo = any (s.muted_types));
  -- An array, of which the planner expects ten rows; of generate_series it expects a thousand.
  backs := array(select generate_series(0, greatest(it.kept_true - 1,
    floor(extract(epoch from p_as_of - it.oldest) / 86400 / case it.period when 'day' then 1 else 7 end)::int,
    -- Back to the last one that a store was told, where that is still to be looked at after a long time down.
    (select max(it.settled::date - last.subject::date) / case it.period when 'day' then 1 else 7 end + 1
    from unnest(speaking) t (id)
    cross join lateral (
      select o.subject, o.look_again_at from nexus_engine.open_insight o
      where o.tienda_id = t.id and o.tipo = p_tipo order by o.subject desc limit 1
    ) last
    where last.look_again_at <= it.settled and last.subject::date > it.settled::date - 60))));
  return query
    select p.tienda_id, p.subject, e.ask_as_of, e.look_again_at
    from nexus_engine.store_periods(it.period, speaking, it.settled, backs) p
    left join nexus_engine.open_insight o
      on o.tienda_id = p.tienda_id and o.tipo = p_tipo and o.subject = p.subject
    cross join lateral nexus_engine.look_at_period(p.announced_at, p.ends_at, it.settled) e
    where case
      when o.subject is null then
        p.announced_at > it.oldest
        and (p.back = 0 or exists (
          select from nexus_engine.open_insight served
          where served.tienda_id = p.tienda_id and served.tipo = p_tipo and served.subject < p.subject))
      else
        o.look_again_at <= it.settled
        or (p.back < it.kept_true and (no_marks or p.tienda_id in (
          select c.tienda_id from nexus_engine.sales_changed c where c.tipo = p_tipo)))
      end
    union
    select p.tienda_id, p.subject, e.ask_as_of, e.look_again_at
    from (
      select distinct c.tienda_id from nexus_engine.sales_changed c
      where c.tipo = p_tipo and c.every_period and c.tienda_id = any (speaking)
    ) c
    cross join lateral (
      select array(
        select n from generate_series(0, (it.settled::date - min(o.subject)::date) / case it.period when 'day' then 1 else 7 end + 1) n
      ) as backs
      from nexus_engine.open_insight o where o.tienda_id = c.tienda_id and o.tipo = p_tipo
      having count(*) > 0
    ) told
    cross join lateral nexus_engine.store_periods(it.period, array[c.tienda_id], it.settled, told.backs) p
    cross join lateral nexus_engine.look_at_period(p.announced_at, p.ends_at, it.settled) e
    join nexus_engine.open_insight o
      on o.tienda_id = p.tienda_id and o.tipo = p_tipo and o.subject = p.subject;
end;
$$;

-- As of when to ask for a period: an instant at which it is the latest that was announced. And when to look at it
-- again: a while after it was told before its end, because changes of the last ten minutes leave no mark
-- (unmarked_for); then at its end. Changes of the last moments of a period that has ended are found when its last
-- day is rolled up.
create or replace function nexus_engine.look_at_period(announced_at timestamptz, ends_at timestamptz, settled timestamptz)
returns table (ask_as_of timestamptz, look_again_at timestamptz) language sql stable parallel safe rows 1
as $$
  select case when ends_at <= settled then greatest(ends_at, announced_at) else announced_at end,
    case when ends_at <= settled then null
      when settled < announced_at + nexus_engine.rolled_up_after()
        then least(ends_at, announced_at + nexus_engine.rolled_up_after())
      else ends_at end
$$;
