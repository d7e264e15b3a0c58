-- Empties the outbox of stock crossings: what happened to a product is told within milliseconds, and
-- an import of a hundred thousand products of one store keeps no other store waiting.

-- The stores that have events, with how many (p_most at most) and the oldest. From store to store by
-- index, whatever the number of events, and though the plan was made while there were none.
create or replace function nexus_engine.stores_with_events(p_most int)
returns table (tienda_id uuid, first_id bigint, events bigint)
language sql stable set enable_seqscan = off
as $$
  with recursive store as (
    (select e.tienda_id, e.id from nexus_engine.stock_event e order by e.tienda_id, e.id limit 1)
    union all
    select n.tienda_id, n.id
    from store s
    cross join lateral (
      select e.tienda_id, e.id from nexus_engine.stock_event e
      where e.tienda_id > s.tienda_id order by e.tienda_id, e.id limit 1
    ) n
  )
  select s.tienda_id, s.id, n.events
  from store s
  cross join lateral (
    select count(*) as events from (
      select from nexus_engine.stock_event e where e.tienda_id = s.tienda_id limit p_most
    ) e
  ) n
$$;

-- Tells what the events say, in one short transaction, for stores that nobody else is reconciling.
--   p_share: how many events of a store are looked at in one transaction. Stores with fewer are done
--     together, those with the fewest first, p_limit events in all. A store whose thresholds changed (see
--     nexus_engine.stock_recheck) is looked at whole, and counts as p_share events. What others wrote to
--     insights (insight_mark) counts as an event each.
--   p_backlog: instead, one share of the store with the oldest event among those that have as many or
--     more. The caller takes turns, so that each waits for one short transaction of the other.
--   returns the events taken; whether there are backlogs; and whether a store had to be passed over.
--     A store of which another session keeps rows locked is put back, see nexus_engine.for_stores.
-- Errors: NX004 outside READ COMMITTED; 55P03 while a whole table is locked.
create or replace function nexus_engine.drain_outbox(
  p_share int, p_limit int, p_backlog boolean, p_as_of timestamptz,
  out events int, out backlogs boolean, out passed_over boolean
) language plpgsql set row_security = off
as $$
declare
  tiendas uuid[] := '{}';
  counts int[] := '{}';
  suspects int := 0;
  done record;
  candidate record;
begin
  perform nexus_engine.require_read_committed('drain_outbox');
  events := 0; backlogs := false; passed_over := false;
  for candidate in
    select c.tienda_id, c.events, c.is_backlog, h.tienda_id is not null as is_suspect
    from (
      select s.tienda_id, s.events, s.events >= p_share as is_backlog, s.first_id
      from nexus_engine.stores_with_events(p_share) s
      union all
      select distinct r.tienda_id, p_share::bigint, false, 0::bigint
      from nexus_engine.stock_recheck r where r.seen_before is null
      union all
      select m.tienda_id, m.marks, false, 0::bigint from nexus_engine.stores_with_marks(p_share) m
    ) c
    left join nexus_engine.store_held_up h on h.tienda_id = c.tienda_id and h.work = 'stock'
    where h.retry_at is null or h.retry_at <= clock_timestamp()
    order by coalesce(h.attempts, 0), case when not p_backlog then c.events end, c.first_id
  loop
    backlogs := backlogs or candidate.is_backlog;
    continue when candidate.is_backlog <> p_backlog or events >= p_limit;
    -- What is told waits for those that were held up, and so two of them at most are tried again.
    suspects := suspects + candidate.is_suspect::int;
    if not (candidate.is_suspect and suspects > 2)
      and pg_try_advisory_xact_lock(nexus_engine.store_lock(candidate.tienda_id))
    then
      tiendas := tiendas || candidate.tienda_id;
      counts := counts || candidate.events::int;
      events := events + candidate.events;
    else
      passed_over := true;
    end if;
    exit when p_backlog and events > 0;
  end loop;
  if events > 0 then
    select f.held_up || f.unfinished as left_out, f.unfinished <> '{}' as is_unfinished into done
    from nexus_engine.for_stores('stock',
      format('select null::jsonb, nexus_engine.tell_crossings($1, %s, $2)', p_share), tiendas, p_as_of) f;
    if done.left_out <> '{}' then
      passed_over := passed_over or done.is_unfinished;
      events := events - (
        select sum(t.events) from unnest(tiendas, counts) t (tienda_id, events) where t.tienda_id = any (done.left_out));
    end if;
  end if;
end;
$$;

-- Of the stores that the caller has locked in an earlier statement. A store that must be looked at whole
-- goes to the reconciler, and so do all when telling of the products one by one fails: it isolates the
-- store that is to blame. One with a threshold above what the triggers see is none of these: what they
-- brought of it is told like any other's, the rest by the passes.
create or replace function nexus_engine.tell_crossings(p_tiendas uuid[], p_share int, p_as_of timestamptz)
returns void language plpgsql set row_security = off
as $$
declare
  whole uuid[] := case when nexus_engine.triggers_are_followed()
    then array(select r.tienda_id from nexus_engine.stock_recheck r where r.tienda_id = any (p_tiendas))
    else p_tiendas end;
  tipos text[] := nexus_engine.followed_types();
  adopted record;
  -- Those of types that are compared by store.
  others nexus_engine.insight_ref[] := '{}';
begin
  begin
    select a.* into adopted from nexus_engine.adopt_insights(p_tiendas, p_as_of) a;
    perform nexus_engine.tell_adopted(
      nexus_engine.take_crossings(array(select t from unnest(p_tiendas) t where t <> all (whole)), p_share),
      adopted.opened, adopted.announced, p_as_of);
    others := array(select o from unnest(adopted.opened) o where o.tipo <> all (tipos));
    whole := whole || adopted.again || array(select distinct o.tienda_id from unnest(others) o);
  exception when others then
    if nexus_engine.is_passing(sqlstate) then
      raise;
    end if;
    raise warning 'nexus: crossings could not be told one by one, whole stores are reconciled: %', sqlerrm;
    whole := p_tiendas;
    others := '{}';
  end;
  if cardinality(whole) > 0 then
    perform nexus_engine.reconcile(
      tipos || array(select distinct o.tipo from unnest(others) o), whole, p_as_of);
    if cardinality(others) > 0 then
      perform nexus_engine.announce(nexus_engine.settle_insights(others, '{}'));
    end if;
    -- The stores that the reconciler passes over, so that one that opens again finds its stock known.
    perform nexus_engine.update_stock_watch(array(
      select w from unnest(whole) w
      where not exists (select from public.tiendas t where t.id = w and t.is_active)), p_as_of);
  end if;
  perform nexus_engine.forget_silent(p_tiendas);
end;
$$;

-- What was taken out of the outbox for a store that is closed, or for a type that is disabled, was told to
-- nobody: when that ends, the next pass looks. The fence (offset 0) keeps to the key of tiendas.
create or replace function nexus_engine.forget_silent(p_tiendas uuid[]) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set row_security = off
as $$
begin
  delete from nexus_engine.stock_told k
  where k.tienda_id = any (p_tiendas)
    and (not exists (select from public.tiendas t where t.id = k.tienda_id and t.is_active offset 0)
      or k.tipo not in (select it.tipo from nexus_engine.insight_type it where it.enabled));
end;
$$;

-- Makes all stock insights about these products true, and about those of the insights that were opened (see
-- adopt_insights), and announces it together with what became of those: a store is notified once.
create or replace function nexus_engine.tell_adopted(
  p_products nexus_engine.product_ref[], p_opened nexus_engine.insight_ref[],
  p_announced nexus_engine.announcement[], p_as_of timestamptz
) returns void language plpgsql
as $$
declare
  tipos text[] := nexus_engine.followed_types();
  opened nexus_engine.insight_ref[] := array(select o from unnest(p_opened) o where o.tipo = any (tipos));
  products nexus_engine.product_ref[] := p_products;
  announced nexus_engine.announcement[] := p_announced;
  it record;
begin
  if cardinality(opened) > 0 then
    products := array(
      select row(p.tienda_id, p.producto_id)::nexus_engine.product_ref
      from (
        select p.tienda_id, p.producto_id from unnest(p_products) p
        union select o.tienda_id, o.subject::uuid from unnest(opened) o
      ) p);
  end if;
  for it in
    select t.tipo from nexus_engine.insight_type t where t.enabled and t.tipo = any (tipos) order by t.tipo
  loop
    announced := announced || nexus_engine.reconcile_products(it.tipo, products, p_as_of);
  end loop;
  announced := nexus_engine.settle_insights(opened, announced);
  if cardinality(announced) > 0 then
    perform nexus_engine.announce(announced);
  end if;
end;
$$;

-- Takes p_share events at most of each of these stores, the oldest first, brings stock_watch up to date
-- with them, and returns the products that they are about. By index and by ctid (nobody else deletes
-- events of a locked store, and nobody updates any), because a plan made while the outbox is empty, as
-- it usually is, would compare every event with every other when it is full.
create or replace function nexus_engine.take_crossings(p_tiendas uuid[], p_share int)
returns nexus_engine.product_ref[] language plpgsql set enable_seqscan = off set row_security = off
as $$
declare
  events nexus_engine.stock_event[];
begin
  with taken as (
    delete from nexus_engine.stock_event e
    where e.ctid = any (array(
      select n.ctid from unnest(p_tiendas) t
      cross join lateral (
        select n.ctid from nexus_engine.stock_event n where n.tienda_id = t order by n.id limit p_share
      ) n))
    returning e.*
  )
  select array_agg(t::nexus_engine.stock_event order by t.id) into events from taken t;
  perform nexus_engine.follow_stock_events(events);
  return array(
    select distinct row(e.tienda_id, e.producto_id)::nexus_engine.product_ref
    from unnest(events) e
    where e.tienda_id in (select t.id from public.tiendas t where t.id = any (p_tiendas) and t.is_active));
end;
$$;

-- What one stock type has to say of these products. The types stand here by name, so that their statements
-- are planned once a session and not at each crossing, which took longer than everything else; by index,
-- because that may be while the tables are empty.
create or replace function nexus_engine.product_findings(
  p_tipo text, p_tiendas uuid[], p_as_of timestamptz, p_products uuid[]
) returns nexus_engine.finding[]
language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
begin
  case p_tipo
    when 'PRODUCTO_SIN_STOCK' then
      return array(select f from nexus_engine.insight_producto_sin_stock(p_tiendas, p_as_of, p_products) f);
    when 'STOCK_BAJO' then
      return array(select f from nexus_engine.insight_stock_bajo(p_tiendas, p_as_of, p_products) f);
  end case;
end;
$$;

-- Makes the insights of one stock type about these products, and no others, equal to what its function of
-- products says: what the reconciler does for whole stores, under the same locks, at a cost that does not
-- follow how many other products of theirs are low. Returns what to announce.
create or replace function nexus_engine.reconcile_products(
  p_tipo text, p_products nexus_engine.product_ref[], p_as_of timestamptz
) returns nexus_engine.announcement[]
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set row_security = off
as $$
declare
  tiendas uuid[] := array(select distinct p.tienda_id from unnest(p_products) p);
  speaking uuid[] := array(
    select s.tienda_id from nexus_engine.store s
    where s.tienda_id = any (tiendas) and not p_tipo = any (s.muted_types));
  findings nexus_engine.finding[] := nexus_engine.product_findings(
    p_tipo, speaking, p_as_of, array(select p.producto_id from unnest(p_products) p));
begin
  findings := nexus_engine.product_differences(p_tipo, p_products, findings, nexus_engine.composition(p_tipo));
  return (select a.announced from nexus_engine.apply_difference(p_tipo, findings, p_as_of) a);
end;
$$;

-- Those of these findings, all there are about these products, that are not remembered as told, with
-- content_hash as their content_key; without a mensaje what is remembered and has no finding any more.
-- Joined by hash, however many there are; the fence (offset 0) keeps to the key of open_insight.
create or replace function nexus_engine.product_differences(
  p_tipo text, p_products nexus_engine.product_ref[], p_findings nexus_engine.finding[], p_composition bigint
) returns nexus_engine.finding[]
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_nestloop = off
as $$
begin
  return array(
    select row(p.tienda_id, p.producto_id::text,
      f.nivel_urgencia, f.mensaje, f.extra_data, f.content_key # p_composition)::nexus_engine.finding
    from unnest(p_products) p
    left join unnest(p_findings) f on f.tienda_id = p.tienda_id and f.subject = p.producto_id::text
    left join lateral (
      select o.subject, o.content_hash from nexus_engine.open_insight o
      where o.tienda_id = p.tienda_id and o.tipo = p_tipo and o.subject = p.producto_id::text offset 0
    ) o on true
    where (f.subject is not null or o.subject is not null)
      and (f.content_key # p_composition = o.content_hash) is not true);
end;
$$;

-- Says that this session looks into the outbox every few milliseconds, so that sales need not ring.
-- False when another drain says so, or while a sale is asking: to be tried again.
create or replace function nexus_engine.stay_awake() returns boolean
language sql
as $$
  select pg_try_advisory_lock(nexus_engine.awake_lock())
$$;

create or replace function nexus_engine.fall_asleep() returns boolean
language sql
as $$
  select pg_advisory_unlock(nexus_engine.awake_lock())
$$;
