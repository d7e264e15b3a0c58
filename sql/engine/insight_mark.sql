-- What others wrote to insights, as the trigger notes it (on_insight_change): which of it says that something is
-- to be decided now, and what it means that an insight was taken away. See sql/engine/adopt.sql.

-- How long the POS has, after it archived everything that a store had, to write its own.
create or replace function nexus_engine.refresh_takes() returns interval
language sql immutable parallel safe
as $$
  select interval '5 seconds'
$$;

-- The notes of these stores that say something now.
create or replace function nexus_engine.marks_to_take(p_tiendas uuid[]) returns bigint[]
language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
begin
  return array(
    select m.id from nexus_engine.insight_mark m
    where m.tienda_id = any (p_tiendas)
      and (m.what in ('active', 'archived', 'deleted') or m.at <= clock_timestamp() - nexus_engine.refresh_takes()));
end;
$$;

-- The same of all stores, for the drain: each with the number of its notes, p_most at most.
create or replace function nexus_engine.stores_with_marks(p_most int)
returns table (tienda_id uuid, marks bigint) language sql stable
as $$
  select m.tienda_id, least(count(*), p_most) from nexus_engine.insight_mark m
  where m.what in ('active', 'archived', 'deleted') or m.at <= clock_timestamp() - nexus_engine.refresh_takes()
  group by m.tienda_id
$$;

-- Notes the active insights of these stores that the engine does not know: those from before the trigger was
-- there, and what it could not note. Returns how many.
create or replace function nexus_engine.mark_foreign_insights(p_tiendas uuid[]) returns int
language plpgsql set plan_cache_mode = force_custom_plan set enable_nestloop = off
as $$
declare
  marked int := 0;
begin
  if cardinality(p_tiendas) > 0 then
    insert into nexus_engine.insight_mark (tienda_id, insight_id, what)
    select i.tienda_id, i.id, 'active' from public.insights i
    where i.is_active and i.tienda_id = any (p_tiendas)
      and i.tipo::text = any (array(select it.tipo from nexus_engine.insight_type it where it.enabled))
      and not exists (
        select from nexus_engine.open_insight o
        where o.tienda_id = i.tienda_id and o.tipo = i.tipo::text and o.insight_id = i.id)
      and not exists (
        select from nexus_engine.insight_mark m
        where m.tienda_id = i.tienda_id and m.insight_id = i.id and m.what = 'active');
    get diagnostics marked = row_count;
  end if;
  return marked;
end;
$$;

-- Those of these stores of which no stock type was told since the triggers are there, or the nightly check was. All
-- of them while what others write is not noted.
create or replace function nexus_engine.unseen_stores(p_tiendas uuid[]) returns uuid[]
language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
begin
  if not nexus_engine.product_insights_known() then
    return p_tiendas;
  end if;
  return array(
    select t from unnest(p_tiendas) t
    where not exists (select from nexus_engine.stock_told k where k.tienda_id = t offset 0));
end;
$$;

-- What the POS deletes while it is active is cleared: not told again, but what the POS itself writes of it stays. What
-- is active again, as after a restore, is not.
create or replace function nexus_engine.note_cleared(p_tiendas uuid[], p_marks bigint[]) returns void
language plpgsql set plan_cache_mode = force_custom_plan set enable_seqscan = off
as $$
declare
  deleted uuid[] := array(
    select m.insight_id from nexus_engine.insight_mark m
    where m.tienda_id = any (p_tiendas) and m.id = any (p_marks) and m.what = 'deleted');
  written uuid[] := array(
    select m.insight_id from nexus_engine.insight_mark m
    where m.tienda_id = any (p_tiendas) and m.id = any (p_marks) and m.what = 'active');
begin
  if cardinality(deleted) > 0 then
    update nexus_engine.open_insight o set cleared = true
    where o.tienda_id = any (p_tiendas) and o.insight_id = any (deleted) and not o.cleared;
  end if;
  written := array(select i.id from public.insights i where i.id = any (written) and i.is_active);
  if cardinality(written) > 0 then
    update nexus_engine.open_insight o set cleared = false
    where o.tienda_id = any (p_tiendas) and o.insight_id = any (written) and o.cleared;
  end if;
end;
$$;

-- What the POS archived: one by one they are dismissed. One transaction that archives several is its forced refresh,
-- since which nothing of the store counts as dismissed, until it is again. The only one that a store had may be either,
-- and is remembered for as long as such a refresh takes.
create or replace function nexus_engine.note_archived(p_tiendas uuid[], p_marks bigint[]) returns void
language plpgsql set plan_cache_mode = force_custom_plan set enable_seqscan = off
as $$
declare
  refreshes xid8[];
  singles uuid[];
  written uuid[] := array(
    select m.insight_id from nexus_engine.insight_mark m
    where m.tienda_id = any (p_tiendas) and m.id = any (p_marks) and m.what = 'active');
  others uuid[];
begin
  select array_agg(distinct a.xid) filter (where a.insights > 1), array_agg(distinct a.tienda_id) filter (where a.insights = 1)
  into refreshes, singles
  from (
    select m.tienda_id, m.xid, count(distinct m.insight_id) as insights from nexus_engine.insight_mark m
    where m.tienda_id = any (p_tiendas) and m.id = any (p_marks) and m.what = 'archived' group by m.tienda_id, m.xid
  ) a;
  if singles is not null then
    others := array(
      select distinct i.tienda_id from public.insights i
      where i.tienda_id = any (singles) and i.is_active and i.id <> all (written));
    update nexus_engine.insight_mark m set what = 'dismissed'
    where m.tienda_id = any (singles) and m.tienda_id <> all (others) and m.id = any (p_marks) and m.what = 'archived'
      and m.xid <> all (coalesce(refreshes, '{}'));
  end if;
  if refreshes is not null then
    perform nexus_engine.note_refreshed(p_tiendas, p_marks, refreshes);
  end if;
end;
$$;

-- After these transactions of the POS, its forced refreshes: what is not shown, and was not dismissed since, is
-- as if cleared. Of summaries only what was shown until then: those that were dismissed are never told again.
create or replace function nexus_engine.note_refreshed(p_tiendas uuid[], p_marks bigint[], p_refreshes xid8[])
returns void
language plpgsql set plan_cache_mode = force_custom_plan set enable_seqscan = off set enable_nestloop = off
as $$
declare
  refreshed uuid[];
  refreshed_at timestamptz[];
  taken uuid[] := array(
    select m.insight_id from nexus_engine.insight_mark m
    where m.tienda_id = any (p_tiendas) and m.id = any (p_marks) and m.xid = any (p_refreshes));
  others uuid[];
begin
  select array_agg(r.tienda_id), array_agg(r.at) into refreshed, refreshed_at
  from (
    select m.tienda_id, max(m.at) as at from nexus_engine.insight_mark m
    where m.tienda_id = any (p_tiendas) and m.id = any (p_marks) and m.xid = any (p_refreshes) group by m.tienda_id
  ) r;
  others := array(
    select i.id from public.insights i where i.tienda_id = any (refreshed) and i.is_active
    union all
    select m.insight_id from unnest(refreshed, refreshed_at) r (tienda_id, at)
    join nexus_engine.insight_mark m on m.tienda_id = r.tienda_id and m.at > r.at
    where m.tienda_id = any (refreshed) and m.id = any (p_marks) and m.what in ('archived', 'dismissed'));
  update nexus_engine.open_insight o set cleared = true
  from nexus_engine.insight_type it
  where o.tienda_id = any (refreshed) and not o.cleared and it.tipo = o.tipo
    and (it.kind = 'state' or o.insight_id = any (taken)) and o.insight_id <> all (others);
  insert into nexus_engine.insight_mark (tienda_id, what) select t, 'refreshed' from unnest(refreshed) t;
end;
$$;

-- After a forced refresh of the POS has had its time: what it archived and did not write again is told anew, as after
-- a forced refresh of ours. The summary that was shown is shown again.
create or replace function nexus_engine.forget_refreshed(
  p_tiendas uuid[], p_marks bigint[], out tiendas uuid[], out announced nexus_engine.announcement[]
) language plpgsql set row_security = off set plan_cache_mode = force_custom_plan set enable_seqscan = off
as $$
begin
  announced := '{}';
  tiendas := array(
    select distinct m.tienda_id from nexus_engine.insight_mark m
    where m.tienda_id = any (p_tiendas) and m.id = any (p_marks) and m.what = 'refreshed');
  if cardinality(tiendas) = 0 then
    return;
  end if;
  delete from nexus_engine.open_insight o
  using nexus_engine.insight_type it
  where o.tienda_id = any (tiendas) and o.cleared and it.tipo = o.tipo and it.kind = 'state'
    and not exists (select from public.insights i where i.id = o.insight_id and i.is_active);
  with shown as (
    update public.insights i set is_active = true
    where not i.is_active and not coalesce(i.extra_data, '{}') ? 'resuelto_at' and i.id = any (array(
      select o.insight_id from nexus_engine.open_insight o
      where o.tienda_id = any (tiendas) and o.cleared and not exists (
        select from nexus_engine.open_insight newer
        where newer.tienda_id = o.tienda_id and newer.tipo = o.tipo and newer.subject > o.subject
          and newer.insight_id is not null)))
    returning i.tienda_id, i.id
  )
  select coalesce(array_agg(row(s.tienda_id, s.id, 'new')::nexus_engine.announcement), '{}') into announced from shown s;
  update nexus_engine.open_insight o set cleared = false where o.tienda_id = any (tiendas) and o.cleared;
  perform nexus_engine.forget_told(tiendas);
end;
$$;
