-- Keeps the rollups (store_day, store_hour, method_day, product_day) equal to what the tickets say
-- of every business day up to rollup_state.through, except days that have marks.

-- Moves the horizon: up to proved_at every transaction that may have written tickets without a mark
-- has ended, so that a later snapshot sees what it did. A candidate is proved when the transactions
-- that held the lock of a writer on ventas at that time have ended. Call it in a transaction of its
-- own, before roll_up.
create or replace function nexus_engine.note_horizon() returns void
language plpgsql
as $$
declare
  -- Given out after now(): whoever wrote before now() has a lower one.
  own bigint := pg_current_xact_id()::text::bigint;
begin
  update nexus_engine.rollup_horizon h set candidate_at = now(), candidate_writers = (
    with lock as materialized (select * from pg_catalog.pg_locks l where l.granted)
    select coalesce(array_agg((own - behind)::text::xid8), '{}')
    from lock relation
    join lock writer on writer.virtualtransaction = relation.virtualtransaction
      and writer.pid is not distinct from relation.pid and writer.locktype = 'transactionid'
    cross join lateral (
      -- Of the id the lock shows 32 bits.
      select (own - writer.transactionid::text::bigint) & 4294967295 as behind
    ) b
    where relation.locktype = 'relation' and relation.relation = 'public.ventas'::regclass
      and relation.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
      and relation.mode = 'RowExclusiveLock' and behind < 2147483648)
  -- A candidate with ids that are yet to come was restored from another cluster.
  where h.candidate_at is null or own::text::xid8 < any (h.candidate_writers);
end;
$$;

-- The instant up to which days may be rolled up, null before the first candidate is proved.
create or replace function nexus_engine.prove_horizon() returns timestamptz
language plpgsql
as $$
declare
  proved timestamptz;
begin
  update nexus_engine.rollup_horizon h
  set proved_at = h.candidate_at, candidate_at = null, candidate_writers = null
  where h.candidate_at is not null and not exists (
    select from unnest(h.candidate_writers) writer
    where not pg_visible_in_snapshot(writer, pg_current_snapshot()));
  select h.proved_at - nexus_engine.rolled_up_after() into proved from nexus_engine.rollup_horizon h;
  return proved;
end;
$$;

-- Takes the lock of every store that wants rolling up and that no other worker has: it has marks, a
-- day of it has closed, it was never rolled up, or its settings are others. At most p_limit, of
-- which those to be rolled up whole count fifty times.
create or replace function nexus_engine.lock_stores_to_roll_up(p_until timestamptz, p_limit int)
returns uuid[] language plpgsql
as $$
declare
  stores uuid[] := '{}';
  weight int := 0;
  candidate record;
begin
  for candidate in
    select s.tienda_id, r.tienda_id is null as whole
    from nexus_engine.store s
    left join nexus_engine.rollup_state r on r.tienda_id = s.tienda_id
      and r.time_zone = s.time_zone and r.summary_time = s.summary_time and r.cash_methods = s.cash_methods
    where r.tienda_id is null or r.next_ends_at <= p_until
      or exists (select from nexus_engine.sale_mark m where m.tienda_id = s.tienda_id)
    order by whole, s.tienda_id
  loop
    exit when weight >= p_limit;
    if pg_try_advisory_xact_lock(hashtextextended('rollup ' || candidate.tienda_id, 0)) then
      stores := stores || candidate.tienda_id;
      weight := weight + case when candidate.whole then 50 else 1 end;
    end if;
  end loop;
  return stores;
end;
$$;

-- Brings the rollups of stores up to date: their days that have closed since, and those that were
-- marked. In one transaction, short enough to be repeated; the task calls it until it does nothing.
--   p_limit: how many stores, see lock_stores_to_roll_up.
--   returns how many stores there were, and how many rows of rollups changed.
-- Reads no clock but the horizon's, which is the database's own and that of the triggers.
-- Errors: NX004 outside READ COMMITTED.
create or replace function nexus_engine.roll_up(p_limit int, out stores int, out changed int)
language plpgsql
as $$
declare
  tiendas uuid[];
  until timestamptz;
begin
  stores := 0; changed := 0;
  until := nexus_engine.begin_roll_up();
  if until is null then
    return;
  end if;
  tiendas := nexus_engine.lock_stores_to_roll_up(until, p_limit);
  stores := cardinality(tiendas);
  changed := nexus_engine.roll_up_locked(tiendas, until);
end;
$$;

-- What every roll-up begins with: attach() and detach() wait for those that run. Returns the
-- horizon, null when nothing may be rolled up, because marks are not being left.
create or replace function nexus_engine.begin_roll_up() returns timestamptz
language plpgsql
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'roll_up: expected transaction isolation read committed, got %',
      current_setting('transaction_isolation') using errcode = 'NX004';
  end if;
  perform pg_advisory_xact_lock_shared(nexus_engine.rollups_lock());
  if not nexus_engine.attached() then
    return null;
  end if;
  return nexus_engine.prove_horizon();
end;
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
returns int language plpgsql
as $$
declare
  marked nexus_engine.store_span[];
  spans nexus_engine.store_days[];
  changed int;
begin
  marked := nexus_engine.take_marks(p_tiendas);
  spans := nexus_engine.advance_rollup_state(p_tiendas, marked, p_until);
  select count(*) into changed from nexus_engine.recompute_days(spans);
  return changed;
end;
$$;

-- Deletes the marks of these stores and returns the instants that they are about, as spans.
create or replace function nexus_engine.take_marks(p_tiendas uuid[]) returns nexus_engine.store_span[]
language plpgsql
as $$
declare
  spans nexus_engine.store_span[];
begin
  -- What follows in this transaction leaves its own marks.
  perform set_config('nexus.marked', '', true);
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
    select s.tienda_id, s.time_zone, s.summary_time, s.cash_methods,
      nexus_engine.latest_local_day(s.summary_time, s.time_zone, p_until) as through,
      case when r.time_zone = s.time_zone and r.summary_time = s.summary_time and r.cash_methods = s.cash_methods
        and not exists (select from unnest(p_marked) m where m.tienda_id = s.tienda_id and m.first_at = '-infinity')
        then r.through end as known_through
    from nexus_engine.store s
    left join nexus_engine.rollup_state r on r.tienda_id = s.tienda_id
    where s.tienda_id = any (p_tiendas)
  ),
  state as (
    insert into nexus_engine.rollup_state as r (tienda_id, through, next_ends_at, time_zone, summary_time, cash_methods)
    select s.tienda_id, s.through, nexus_engine.local_instant(s.through + 1, s.summary_time, s.time_zone),
      s.time_zone, s.summary_time, s.cash_methods
    from store s where s.known_through is distinct from s.through
    on conflict (tienda_id) do update set through = excluded.through, next_ends_at = excluded.next_ends_at,
      time_zone = excluded.time_zone, summary_time = excluded.summary_time, cash_methods = excluded.cash_methods
  ),
  -- A store that is rolled up whole: from its first ticket, or what there is of older rollups.
  whole as (
    select s.tienda_id,
      least(nexus_engine.latest_local_day(s.summary_time, s.time_zone, f.fecha) + 1, o.first_day) as first_day,
      greatest(s.through, o.last_day) as last_day
    from store s
    left join lateral (
      select v.fecha from public.ventas v
      where v.tienda_id = s.tienda_id and v.fecha >= timestamptz '1900-01-01 00:00:00Z' and v.fecha < p_until
      order by v.fecha limit 1
    ) f on true
    cross join lateral (
      select min(d.day) as first_day, max(d.day) as last_day
      from nexus_engine.rolled_day d where d.tienda_id = s.tienda_id
    ) o
    where s.known_through is null
  ),
  marked as (
    select distinct s.tienda_id, d.day
    from store s
    join unnest(p_marked) m on m.tienda_id = s.tienda_id
    cross join lateral (values (m.first_at), (m.last_at)) i (at)
    cross join lateral (
      select nexus_engine.latest_local_day(s.summary_time, s.time_zone, i.at) + 1 as day
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

-- Every day of which there is any row, as often as there are rows.
create or replace view nexus_engine.rolled_day as
select d.tienda_id, d.day from nexus_engine.store_day d
union all select h.tienda_id, h.day from nexus_engine.store_hour h
union all select m.tienda_id, m.day from nexus_engine.method_day m
union all select p.tienda_id, p.day from nexus_engine.product_day p;

-- Makes the rollups of these days equal to what the tickets say, in one statement, that is from one
-- snapshot, writing only what differs. Returns what it changed: the row that was there and the one
-- that is, null where there is none. Days after rollup_state.through are emptied. The settings are
-- those of rollup_state.
create or replace function nexus_engine.recompute_days(p_spans nexus_engine.store_days[])
returns table (rollup text, tienda_id uuid, day date, was jsonb, now jsonb)
language sql
as $$
  with day as materialized (
    select r.tienda_id, d.day, d.day <= r.through as is_closed, r.time_zone, r.cash_methods,
      nexus_engine.local_instant(d.day - 1, r.summary_time, r.time_zone) as starts_at,
      nexus_engine.local_instant(d.day, r.summary_time, r.time_zone) as ends_at
    from unnest(p_spans) s
    join nexus_engine.rollup_state r on r.tienda_id = s.tienda_id
    cross join lateral (
      select s.first_day + n as day from generate_series(0, s.last_day - s.first_day) n
    ) d
  ),
  -- The fences (offset 0) keep the planner to the indexes: it cannot know how few days there are.
  ticket as materialized (
    select d.tienda_id, d.day, v.id, v.metodo_pago, v.total,
      extract(hour from v.fecha at time zone d.time_zone)::smallint as hour
    from day d
    cross join lateral (
      select v.id, v.fecha, v.metodo_pago::text, nexus_engine.ticket_total(v.total, v.fecha, v.created_at) as total
      from public.ventas v
      where d.is_closed and v.tienda_id = d.tienda_id and v.fecha >= d.starts_at and v.fecha < d.ends_at
        and nexus_engine.is_sale(v.status_pago, v.metodo_pago, d.cash_methods)
      offset 0
    ) v
  ),
  line as (
    select t.tienda_id, t.day, t.id, l.producto_id,
      nexus_engine.quantity(l.cantidad) as units, nexus_engine.money(l.subtotal) as revenue
    from ticket t
    cross join lateral (
      select l.producto_id, l.cantidad, l.subtotal from public.detalles_venta l where l.venta_id = t.id offset 0
    ) l
    where t.total is not null
  ),

  store_change as materialized (
    select coalesce(n.tienda_id, o.tienda_id) as tienda_id, coalesce(n.day, o.day) as day,
      n.total, n.tickets, n.unusable, to_jsonb(o) as was, case when n.day is not null then to_jsonb(n) end as now
    from (
      select t.tienda_id, t.day, coalesce(sum(t.total), 0) as total, count(t.total)::int as tickets,
        (count(*) - count(t.total))::int as unusable
      from ticket t group by t.tienda_id, t.day
    ) n
    full join (
      select r.* from day d
      cross join lateral (
        select r.* from nexus_engine.store_day r where r.tienda_id = d.tienda_id and r.day = d.day offset 0
      ) r
    ) o on o.tienda_id = n.tienda_id and o.day = n.day
    where (n.total, n.tickets, n.unusable) is distinct from (o.total, o.tickets, o.unusable)
  ),
  store_written as (
    insert into nexus_engine.store_day (tienda_id, day, total, tickets, unusable)
    select c.tienda_id, c.day, c.total, c.tickets, c.unusable from store_change c where c.now is not null
    on conflict (tienda_id, day) do update
      set total = excluded.total, tickets = excluded.tickets, unusable = excluded.unusable
  ),
  store_gone as (
    delete from nexus_engine.store_day r using store_change c
    where c.now is null and r.tienda_id = c.tienda_id and r.day = c.day
  ),

  hour_change as materialized (
    select coalesce(n.tienda_id, o.tienda_id) as tienda_id, coalesce(n.day, o.day) as day,
      coalesce(n.hour, o.hour) as hour, n.total, n.tickets,
      to_jsonb(o) as was, case when n.day is not null then to_jsonb(n) end as now
    from (
      select t.tienda_id, t.day, t.hour, sum(t.total) as total, count(*)::int as tickets
      from ticket t where t.total is not null group by t.tienda_id, t.day, t.hour
    ) n
    full join (
      select r.* from day d
      cross join lateral (
        select r.* from nexus_engine.store_hour r where r.tienda_id = d.tienda_id and r.day = d.day offset 0
      ) r
    ) o on o.tienda_id = n.tienda_id and o.day = n.day and o.hour = n.hour
    where (n.total, n.tickets) is distinct from (o.total, o.tickets)
  ),
  hour_written as (
    insert into nexus_engine.store_hour (tienda_id, day, hour, total, tickets)
    select c.tienda_id, c.day, c.hour, c.total, c.tickets from hour_change c where c.now is not null
    on conflict (tienda_id, day, hour) do update set total = excluded.total, tickets = excluded.tickets
  ),
  hour_gone as (
    delete from nexus_engine.store_hour r using hour_change c
    where c.now is null and r.tienda_id = c.tienda_id and r.day = c.day and r.hour = c.hour
  ),

  method_change as materialized (
    select coalesce(n.tienda_id, o.tienda_id) as tienda_id, coalesce(n.day, o.day) as day,
      coalesce(n.metodo_pago, o.metodo_pago) as metodo_pago, n.total, n.tickets,
      to_jsonb(o) as was, case when n.day is not null then to_jsonb(n) end as now
    from (
      select t.tienda_id, t.day, t.metodo_pago, sum(t.total) as total, count(*)::int as tickets
      from ticket t where t.total is not null group by t.tienda_id, t.day, t.metodo_pago
    ) n
    full join (
      select r.* from day d
      cross join lateral (
        select r.* from nexus_engine.method_day r where r.tienda_id = d.tienda_id and r.day = d.day offset 0
      ) r
    ) o on o.tienda_id = n.tienda_id and o.day = n.day and o.metodo_pago = n.metodo_pago
    where (n.total, n.tickets) is distinct from (o.total, o.tickets)
  ),
  method_written as (
    insert into nexus_engine.method_day (tienda_id, day, metodo_pago, total, tickets)
    select c.tienda_id, c.day, c.metodo_pago, c.total, c.tickets from method_change c where c.now is not null
    on conflict (tienda_id, day, metodo_pago) do update set total = excluded.total, tickets = excluded.tickets
  ),
  method_gone as (
    delete from nexus_engine.method_day r using method_change c
    where c.now is null and r.tienda_id = c.tienda_id and r.day = c.day and r.metodo_pago = c.metodo_pago
  ),

  product_change as materialized (
    select coalesce(n.tienda_id, o.tienda_id) as tienda_id, coalesce(n.day, o.day) as day,
      coalesce(n.producto_id, o.producto_id) as producto_id, n.units, n.revenue, n.tickets,
      to_jsonb(o) as was, case when n.day is not null then to_jsonb(n) end as now
    from (
      select l.tienda_id, l.day, l.producto_id, sum(l.units) as units, sum(l.revenue) as revenue,
        count(distinct l.id)::int as tickets
      from line l where l.units is not null and l.revenue is not null
      group by l.tienda_id, l.day, l.producto_id
    ) n
    full join (
      select r.* from day d
      cross join lateral (
        select r.* from nexus_engine.product_day r where r.tienda_id = d.tienda_id and r.day = d.day offset 0
      ) r
    ) o on o.tienda_id = n.tienda_id and o.day = n.day and o.producto_id = n.producto_id
    where (n.units, n.revenue, n.tickets) is distinct from (o.units, o.revenue, o.tickets)
  ),
  product_written as (
    insert into nexus_engine.product_day (tienda_id, day, producto_id, units, revenue, tickets)
    select c.tienda_id, c.day, c.producto_id, c.units, c.revenue, c.tickets from product_change c where c.now is not null
    on conflict (tienda_id, day, producto_id) do update
      set units = excluded.units, revenue = excluded.revenue, tickets = excluded.tickets
  ),
  product_gone as (
    delete from nexus_engine.product_day r using product_change c
    where c.now is null and r.tienda_id = c.tienda_id and r.day = c.day and r.producto_id = c.producto_id
  )

  select 'store_day', c.tienda_id, c.day, c.was, c.now from store_change c
  union all select 'store_hour', c.tienda_id, c.day, c.was, c.now from hour_change c
  union all select 'method_day', c.tienda_id, c.day, c.was, c.now from method_change c
  union all select 'product_day', c.tienda_id, c.day, c.was, c.now from product_change c
$$;

-- Rolls a store up, then compares all its rollups with its tickets, repairs them and returns the
-- differences: there are none, unless a mark is missing. Waits for another worker's lock.
create or replace function nexus_engine.rebuild_rollups(p_tienda_id uuid)
returns table (rollup text, tienda_id uuid, day date, was jsonb, now jsonb)
language plpgsql
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
language plpgsql
as $$
#variable_conflict use_column
declare
  until timestamptz := nexus_engine.begin_roll_up();
  spans nexus_engine.store_days[];
begin
  if until is null then
    return;
  end if;
  perform pg_advisory_xact_lock(k.key)
  from (select hashtextextended('rollup ' || t, 0) as key from unnest(p_tiendas) t order by 1) k;
  perform nexus_engine.roll_up_locked(p_tiendas, until);

  select array_agg(row(r.tienda_id, d.day, d.day)::nexus_engine.store_days) into spans
  from nexus_engine.rollup_state r
  cross join lateral (
    select least(
        (select min(o.day) from nexus_engine.rolled_day o where o.tienda_id = r.tienda_id),
        (select (min(v.fecha) at time zone r.time_zone)::date from public.ventas v
          where v.tienda_id = r.tienda_id and v.fecha >= timestamptz '1900-01-01 00:00:00Z')) as first_day,
      greatest(r.through, (select max(o.day) from nexus_engine.rolled_day o where o.tienda_id = r.tienda_id)) as last_day
  ) b
  cross join lateral (
    select b.first_day + n as day from generate_series(0, b.last_day - b.first_day) n
  ) d
  where r.tienda_id = any (p_tiendas) and (d.day >= p_from or (d.day - date '2000-01-01') % p_modulus = p_rest);
  return query select * from nexus_engine.recompute_days(spans);
end;
$$;

-- check_rollups for the next p_limit stores after p_after, by id: their last eight days, and every
-- p_modulus-th of the others, another one each night.
--   returns the last of the stores, null when there are no more, how many, and how many rows differed.
create or replace function nexus_engine.check_rollups_batch(
  p_after uuid, p_limit int, p_modulus int, p_as_of timestamptz,
  out last_store uuid, out stores int, out repaired int
) language plpgsql
as $$
declare
  tiendas uuid[] := array(
    select t.id from public.tiendas t where p_after is null or t.id > p_after order by t.id limit p_limit);
  today date := (p_as_of at time zone 'UTC')::date;
begin
  stores := cardinality(tiendas);
  last_store := tiendas[stores];
  select count(*) into repaired
  from nexus_engine.check_rollups(tiendas, today - 8, p_modulus, (today - date '2000-01-01') % p_modulus);
end;
$$;
