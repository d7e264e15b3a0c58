-- Keeps a store whose rows another session has locked from delaying the others: whatever works on many
-- stores at once waits for a lock only for moments, puts that store back, and does the others. See
-- nexus_engine.store_held_up.

-- Runs p_statement, which works on the stores $1 at $2 and whose first column is jsonb, once for all of them
-- in the ordinary case. Where it waits too long for a lock, or is the victim of a deadlock, undoes it and
-- halves the list until the store that is held up stands alone in store_held_up; the others are done. Stores
-- that stand there already are tried one by one, after the others.
--   p_work: 'stock', 'refresh' or 'rollups'.
--   p_wait_ms: how long to wait for a lock; shorter once it is known that some store is held up.
--   p_give_up_at: for its own calls: from then on nothing more is tried, because those who are done wait for
--     the others; infinity before it is known that some store is held up.
--   returns what p_statement returned each time; the stores that are held up; and those that it did not come
--     to, because so many are, which the caller is to try again.
-- Errors: 55P03 when a whole table is locked, which is no store's; whatever else p_statement raises.
create or replace function nexus_engine.for_stores(
  p_work text, p_statement text, p_tiendas uuid[], p_as_of timestamptz,
  p_wait_ms int default 50, p_give_up_at timestamptz default null,
  out results jsonb[], out held_up uuid[], out unfinished uuid[]
) language plpgsql
-- So that what is set below ends with this function, however it ends.
set lock_timeout = '50ms'
as $$
declare
  began timestamptz := clock_timestamp();
  give_up_at timestamptz := p_give_up_at;
  half int := cardinality(p_tiendas) / 2;
  result jsonb;
  part record;
begin
  results := '{}'; held_up := '{}'; unfinished := '{}';
  if p_give_up_at is null and exists (select from nexus_engine.store_held_up) then
    select f.* into results, held_up, unfinished
    from nexus_engine.for_suspects_apart(p_work, p_statement, p_tiendas, p_as_of, p_wait_ms) f;
    return;
  end if;
  if give_up_at is null or clock_timestamp() < give_up_at then
    begin
      perform set_config('lock_timeout', p_wait_ms || 'ms', true);
      execute p_statement into result using p_tiendas, p_as_of;
      perform nexus_engine.forget_held_up(p_work, p_tiendas);
      results := array[result];
      return;
    exception when lock_not_available or deadlock_detected then
      -- Everybody waits for it, and the caller has to try all of them again.
      if nexus_engine.is_table_locked() then
        raise;
      end if;
    end;
  end if;

  if clock_timestamp() >= give_up_at then
    unfinished := p_tiendas;
    return;
  elsif half = 0 then
    perform nexus_engine.note_held_up(p_work, p_tiendas);
    held_up := p_tiendas;
    return;
  end if;
  -- The halves do the same work once more, and some of it twice.
  if give_up_at is null or give_up_at = 'infinity' then
    give_up_at := clock_timestamp() + interval '500 ms' + 3 * (clock_timestamp() - began);
  end if;
  for part in
    select f.*
    from (values (p_tiendas[:half]), (p_tiendas[half + 1:])) h (tiendas)
    cross join lateral nexus_engine.for_stores(p_work, p_statement, h.tiendas, p_as_of, 10, give_up_at) f
  loop
    results := results || part.results;
    held_up := held_up || part.held_up;
    unfinished := unfinished || part.unfinished;
  end loop;
end;
$$;

-- for_stores with those that stand in store_held_up one by one, after the others, for half a second.
create or replace function nexus_engine.for_suspects_apart(
  p_work text, p_statement text, p_tiendas uuid[], p_as_of timestamptz, p_wait_ms int,
  out results jsonb[], out held_up uuid[], out unfinished uuid[]
) language plpgsql
as $$
declare
  suspects uuid[] := array(
    select h.tienda_id from nexus_engine.store_held_up h where h.work = p_work and h.tienda_id = any (p_tiendas));
  others uuid[] := array(select t from unnest(p_tiendas) t where t <> all (suspects));
  give_up_at timestamptz;
  suspect uuid;
  part record;
begin
  results := '{}'; held_up := '{}'; unfinished := '{}';
  if others <> '{}' then
    select f.* into results, held_up, unfinished
    from nexus_engine.for_stores(p_work, p_statement, others, p_as_of, p_wait_ms, 'infinity') f;
  end if;
  give_up_at := clock_timestamp() + interval '500 ms';
  foreach suspect in array suspects loop
    select f.* into part
    from nexus_engine.for_stores(p_work, p_statement, array[suspect], p_as_of, 10, give_up_at) f;
    results := results || part.results;
    held_up := held_up || part.held_up;
    unfinished := unfinished || part.unfinished;
  end loop;
end;
$$;

-- Puts these stores back, for twice as long each time: 1 second, 2, 4, up to 30. Whom another session is
-- putting back at this moment is left to that one.
create or replace function nexus_engine.note_held_up(p_work text, p_tiendas uuid[]) returns void
language plpgsql set lock_timeout = '50ms'
as $$
begin
  insert into nexus_engine.store_held_up as h (tienda_id, work, since, attempts, retry_at)
  select t, p_work, clock_timestamp(), 1, clock_timestamp() + interval '1 second' from unnest(p_tiendas) t order by t
  on conflict (tienda_id, work) do update
    set attempts = case when h.retry_at < clock_timestamp() - interval '10 minutes' then 1 else h.attempts + 1 end,
      -- Of another time: nobody has come back since.
      since = case when h.retry_at < clock_timestamp() - interval '10 minutes' then excluded.since else h.since end,
      retry_at = clock_timestamp() + least(interval '30 seconds', interval '1 second' * 2 ^ least(h.attempts, 5))
    where h.retry_at <= clock_timestamp();
exception when lock_not_available or deadlock_detected then
  null;
end;
$$;

-- This work was done for these stores. A refresh also tells what the outbox brought.
create or replace function nexus_engine.forget_held_up(p_work text, p_tiendas uuid[]) returns void
language plpgsql
as $$
begin
  if exists (select from nexus_engine.store_held_up) then
    delete from nexus_engine.store_held_up h where h.ctid = any (array(
      select k.ctid from nexus_engine.store_held_up k
      where (k.work = p_work or k.work = 'stock' and p_work = 'refresh') and k.tienda_id = any (p_tiendas)
      for update skip locked));
  end if;
end;
$$;

-- Those of these stores that are to be left alone for now.
create or replace function nexus_engine.put_back(p_work text, p_tiendas uuid[]) returns uuid[]
language sql stable
as $$
  select array(
    select h.tienda_id from nexus_engine.store_held_up h
    where h.work = p_work and h.tienda_id = any (p_tiendas) and h.retry_at > clock_timestamp())
$$;

-- Whether another session has locked, or waits to lock, a whole table, so that we wait. Of tickets and products,
-- which we only read, an index that is being built locks nothing of ours; a new insight locks its row of tiendas.
-- We do not write detached either, which a start has locked while it waits to make our triggers.
create or replace function nexus_engine.is_table_locked() returns boolean
language sql stable
as $$
  select exists (
    select from pg_catalog.pg_locks l
    join pg_catalog.pg_class c on c.oid = l.relation
    where l.locktype = 'relation' and l.pid <> pg_backend_pid()
      and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
      and (l.mode = 'AccessExclusiveLock'
          and c.oid in ('public.productos'::regclass, 'public.ventas'::regclass, 'public.detalles_venta'::regclass)
        or l.mode in ('ExclusiveLock', 'AccessExclusiveLock') and c.oid = 'public.tiendas'::regclass
        or l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
          and (c.relnamespace in ('nexus_engine'::regnamespace, 'graphile_worker'::regnamespace)
              and c.oid <> 'nexus_engine.detached'::regclass
            or c.oid = 'public.insights'::regclass)))
$$;
