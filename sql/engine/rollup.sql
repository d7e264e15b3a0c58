-- Keeps the rollups (store_day, store_hour, method_day, product_day) equal to what the tickets say
-- of every business day up to rollup_state.through, except days that have marks.

-- Brings the rollups of stores up to date: their days that have closed since, and those that were
-- marked. In one transaction, short enough to be repeated; the task calls it until it does nothing.
--   p_limit: how many stores, see take_stores_to_roll_up.
--   p_except: stores to be passed over, because they failed a moment ago.
--   returns how many stores there were, how many rows of rollups changed, and the stores that failed.
-- A store of which another session keeps rows locked is put back, see nexus_engine.for_stores.
-- Reads no clock but the horizon's, which is the database's own and that of the triggers.
-- Errors: NX004 outside READ COMMITTED.
create or replace function nexus_engine.roll_up_batch(
  p_limit int, p_except uuid[], out stores int, out changed int, out failed uuid[]
) language plpgsql set row_security = off
as $$
declare
  tiendas uuid[];
  until timestamptz;
begin
  stores := 0; changed := 0; failed := '{}';
  until := nexus_engine.begin_roll_up();
  if until is null then
    return;
  end if;
  tiendas := nexus_engine.take_stores_to_roll_up(until, p_limit, p_except);
  stores := cardinality(tiendas);
  if stores > 0 then
    select r.changed, r.failed into changed, failed
    from nexus_engine.roll_up_stores(tiendas, until, null, null, null) r;
  end if;
end;
$$;

-- roll_up_isolated of those of these stores of which no other session keeps rows locked; also returns the
-- others, whose marks stay.
create or replace function nexus_engine.roll_up_stores(
  p_tiendas uuid[], p_until timestamptz, p_from date, p_modulus int, p_rest int,
  out changed int, out failed uuid[], out left_out uuid[]
) language plpgsql
as $$
declare
  done record;
begin
  select f.* into done
  from nexus_engine.for_stores('rollups',
    format('select to_jsonb(r) from nexus_engine.roll_up_isolated($1, $2, %L, %L, %L) r', p_from, p_modulus, p_rest),
    p_tiendas, p_until) f;
  left_out := done.held_up || done.unfinished;
  select coalesce(sum(r.changed), 0), array(
    select f::uuid from unnest(done.results) d cross join lateral jsonb_array_elements_text(d -> 'failed') f)
  into changed, failed
  from unnest(done.results) d
  cross join lateral jsonb_to_record(d) r (changed int);
end;
$$;

-- Rolls up these stores, whose locks the caller has taken in an earlier statement, or compares them as
-- nexus_engine.compare_rollups does where p_from is given. Where that fails for the data of some store,
-- halves the list until that store stands alone in store_failure and all others are done; costs
-- nothing when none fails. Errors that say nothing about a store's data are raised again, for the job
-- to be retried. A store that failed keeps its marks, and its days are read from its tickets.
create or replace function nexus_engine.roll_up_isolated(
  p_tiendas uuid[], p_until timestamptz, p_from date, p_modulus int, p_rest int,
  out changed int, out failed uuid[]
) language plpgsql
as $$
declare
  half int := cardinality(p_tiendas) / 2;
  state text;
  text_of_error text;
begin
  begin
    if p_from is null then
      changed := nexus_engine.roll_up_locked(p_tiendas, p_until);
    else
      select count(*) into changed
      from nexus_engine.compare_rollups(p_tiendas, p_until, p_from, p_modulus, p_rest);
    end if;
    failed := '{}';
    perform nexus_engine.resolve_store_failure('ROLLUP', p_tiendas, now());
    return;
  exception when others then
    get stacked diagnostics state = returned_sqlstate, text_of_error = message_text;
    if nexus_engine.is_passing(state) then
      raise;
    end if;
  end;

  -- Class 42 is a fault of ours, the same for every store: no use in looking for the one.
  if cardinality(p_tiendas) = 1 or left(state, 2) = '42' then
    perform nexus_engine.note_store_failure('ROLLUP', p_tiendas, state, text_of_error, now());
    changed := 0;
    failed := p_tiendas;
    return;
  end if;

  select sum(r.changed), coalesce(array_agg(f) filter (where f is not null), '{}') into changed, failed
  from (values (p_tiendas[:half]), (p_tiendas[half + 1:])) h (tiendas)
  cross join lateral nexus_engine.roll_up_isolated(h.tiendas, p_until, p_from, p_modulus, p_rest) r
  left join lateral unnest(r.failed) f on true;
end;
$$;

-- Takes the lock of every store that wants rolling up and that no other worker has: it has marks, a
-- day of it has closed, it was never rolled up, or its settings are others. At most p_limit, of
-- which those to be rolled up whole count once more for each 400 tickets, at most fifty times.
create or replace function nexus_engine.take_stores_to_roll_up(p_until timestamptz, p_limit int, p_except uuid[])
returns uuid[] language plpgsql
as $$
declare
  stores uuid[] := '{}';
  weight int := 0;
  put_back uuid[] := array(
    select h.tienda_id from nexus_engine.store_held_up h where h.work = 'rollups' and h.retry_at > clock_timestamp());
  candidate record;
begin
  for candidate in
    select s.tienda_id, r.tienda_id is null as whole
    from nexus_engine.store s
    left join nexus_engine.rollup_state r on r.tienda_id = s.tienda_id
      and r.time_zone = s.time_zone and r.day_starts_at = s.day_starts_at
      and r.counted_pending_methods = s.counted_pending_methods
    where s.tienda_id <> all (p_except) and s.tienda_id <> all (put_back)
      and (r.tienda_id is null or r.next_ends_at <= p_until
        or exists (select from nexus_engine.sale_mark m where m.tienda_id = s.tienda_id))
    order by whole, s.tienda_id
  loop
    exit when weight >= p_limit;
    if pg_try_advisory_xact_lock(nexus_engine.rollup_lock(candidate.tienda_id)) then
      stores := stores || candidate.tienda_id;
      weight := weight + case when candidate.whole then nexus_engine.rollup_weight(candidate.tienda_id) else 1 end;
    end if;
  end loop;
  return stores;
end;
$$;

-- How many stores with one closed day weigh as much as all tickets of this one.
create or replace function nexus_engine.rollup_weight(p_tienda_id uuid) returns int
language sql stable
as $$
  select least(50, 1 + count(*)::int / 400)
  from (select from public.ventas v where v.tienda_id = p_tienda_id limit 20000) ticket
$$;

-- What every roll-up begins with: attach() and detach() wait for those that run. Returns the
-- horizon, null when nothing may be rolled up, because marks are not being left.
create or replace function nexus_engine.begin_roll_up() returns timestamptz
language plpgsql
as $$
begin
  perform nexus_engine.require_read_committed('roll_up');
  perform pg_advisory_xact_lock_shared(nexus_engine.rollups_lock());
  if not nexus_engine.attached() then
    return null;
  end if;
  return nexus_engine.prove_horizon();
end;
$$;

-- Held while the rollups of a store are written.
create or replace function nexus_engine.rollup_lock(p_tienda_id uuid) returns bigint
language sql immutable parallel safe
as $$
  select hashtextextended('rollup ' || p_tienda_id, 0)
$$;

-- Shared by roll-ups, exclusive for attach() and detach().
create or replace function nexus_engine.rollups_lock() returns bigint
language sql immutable parallel safe
as $$
  select 7041948525
$$;

-- roll_up of these stores, whose locks the caller has taken in an earlier statement. First takes
-- the marks, then recomputes in a later statement: what commits in between has a mark of its own.
create or replace function nexus_engine.roll_up_locked(p_tiendas uuid[], p_until timestamptz)
returns int language plpgsql set row_security = off
as $$
declare
  marked nexus_engine.store_span[];
  spans nexus_engine.store_days[];
  changed int;
begin
  marked := nexus_engine.take_marks(p_tiendas);
  perform nexus_engine.note_sales_changed(array(select distinct m.tienda_id from unnest(marked) m), false);
  spans := nexus_engine.advance_rollup_state(p_tiendas, marked, p_until);
  -- A day that ended may have changed in its last moments without a mark.
  perform nexus_engine.note_sales_changed(array(
    select distinct s.tienda_id from unnest(spans) s where not exists (
      select from unnest(marked) m where m.tienda_id = s.tienda_id)), false);
  select count(*) into changed from nexus_engine.recompute_days(spans);
  return changed;
end;
$$;

-- Deletes the marks of these stores and returns the instants that they are about, as spans.
create or replace function nexus_engine.take_marks(p_tiendas uuid[]) returns nexus_engine.store_span[]
language plpgsql set row_security = off
as $$
declare
  spans nexus_engine.store_span[];
begin
  -- What follows in this transaction leaves its own marks.
  perform set_config('nexus.marked', '', true), set_config('nexus.all_marked', '', true);
  with taken as (
    delete from nexus_engine.sale_mark m where m.tienda_id = any (p_tiendas) returning m.*
  ),
  -- No report goes beyond these years, and instants far beyond have no local time.
  span as (
    select distinct coalesce(v.tienda_id, t.tienda_id) as tienda_id, i.first_at,
      case when t.at is null then i.first_at
        else i.first_at + interval '1 hour' - interval '1 microsecond' end as last_at
    from taken t
    left join lateral (
      select v.tienda_id, v.fecha from public.ventas v where v.id = t.venta_id offset 0
    ) v on true
    cross join lateral (select coalesce(t.at, v.fecha) as first_at) i
    where i.first_at between timestamptz '1899-12-01 00:00:00Z' and timestamptz '3000-02-01 00:00:00Z'
      or t.at = '-infinity'
  ),
  -- A ticket that moved to a store whose lock is another's.
  moved as (
    insert into nexus_engine.sale_mark (tienda_id, at)
    select s.tienda_id, date_trunc('hour', s.first_at, 'UTC') from span s where s.tienda_id <> all (p_tiendas)
  )
  select array_agg(row(s.tienda_id, s.first_at, s.last_at)::nexus_engine.store_span) into spans
  from span s where s.tienda_id = any (p_tiendas);
  return spans;
end;
$$;

-- Writes how far these stores will be rolled up, and with which settings, and returns what must be
-- recomputed for that: spans of days, none twice. Everything after reads the settings written here,
-- so that a change of settings meanwhile leaves a state that is visibly that of the old ones.
create or replace function nexus_engine.advance_rollup_state(
  p_tiendas uuid[], p_marked nexus_engine.store_span[], p_until timestamptz
) returns nexus_engine.store_days[] language plpgsql
as $$
declare
  spans nexus_engine.store_days[];
begin
  with store as materialized (
    select s.tienda_id, s.time_zone, s.day_starts_at, s.counted_pending_methods,
      nexus_engine.latest_local_day(s.day_starts_at, s.time_zone, p_until) - 1 as through,
      case when r.time_zone = s.time_zone and r.day_starts_at = s.day_starts_at
        and r.counted_pending_methods = s.counted_pending_methods
        and not exists (select from unnest(p_marked) m where m.tienda_id = s.tienda_id and m.first_at = '-infinity')
        then r.through end as known_through
    from nexus_engine.store s
    left join nexus_engine.rollup_state r on r.tienda_id = s.tienda_id
    where s.tienda_id = any (p_tiendas)
  ),
  state as (
    insert into nexus_engine.rollup_state as r
      (tienda_id, through, next_ends_at, time_zone, day_starts_at, counted_pending_methods)
    select s.tienda_id, s.through, nexus_engine.local_instant(s.through + 2, s.day_starts_at, s.time_zone),
      s.time_zone, s.day_starts_at, s.counted_pending_methods
    from store s where s.known_through is distinct from s.through
    on conflict (tienda_id) do update set through = excluded.through, next_ends_at = excluded.next_ends_at,
      time_zone = excluded.time_zone, day_starts_at = excluded.day_starts_at,
      counted_pending_methods = excluded.counted_pending_methods
  ),
  -- A store that is rolled up whole: from its first ticket, or what there is of older rollups.
  whole as (
    select s.tienda_id,
      least(nexus_engine.latest_local_day(s.day_starts_at, s.time_zone, f.fecha), o.first_day) as first_day,
      greatest(s.through, o.last_day) as last_day
    from store s
    left join lateral (
      select v.fecha from public.ventas v
      where v.tienda_id = s.tienda_id and v.fecha >= timestamptz '1900-01-01 00:00:00Z' and v.fecha < p_until
      order by v.fecha limit 1
    ) f on true
    cross join lateral (
      select min(d.day) as first_day, max(d.day) as last_day
      from nexus_engine.rollup d where d.tienda_id = s.tienda_id
    ) o
    where s.known_through is null
  ),
  marked as (
    select distinct s.tienda_id, d.day
    from store s
    join unnest(p_marked) m on m.tienda_id = s.tienda_id
    cross join lateral (values (m.first_at), (m.last_at)) i (at)
    cross join lateral (
      select nexus_engine.latest_local_day(s.day_starts_at, s.time_zone, i.at) as day
    ) d
    where isfinite(i.at) and d.day between date '1900-01-01' and s.known_through
  )
  select array_agg(row(w.tienda_id, w.first_day, w.last_day)::nexus_engine.store_days) into spans
  from (
    select w.tienda_id, w.first_day, w.last_day from whole w where w.first_day <= w.last_day
    union all
    select s.tienda_id, s.known_through + 1, s.through from store s where s.known_through < s.through
    union all
    select m.tienda_id, m.day, m.day from marked m
  ) w;
  return spans;
end;
$$;
