-- One active insight a type and product, or day, whoever wrote it. What others write to insights is noted by a
-- trigger in insight_mark; the drain takes the notes within milliseconds, a pass takes those of its stores.
-- An active insight of an enabled type that the engine does not know is opened as if it were ours, and then
-- compared like all others: its text becomes ours, or it is archived, because there is nothing to tell. Where ours
-- stands already the newest of both stays, because the POS looks back 24 hours only, of sales 6, before it
-- writes another. Where ours was dismissed the other is archived as well.

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

-- Takes the notes of these stores, which the caller has locked in an earlier statement, and decides what becomes of
-- the insights that they are about. The caller then compares what was opened, and ends with settle_insights.
--   opened: insights that stand for their subject now, with a content that is not ours yet. announced: of those
--   that were archived. again: stores of which everything is to be compared.
-- What it cannot decide it leaves as it is, with a warning: one store's rows must not stop the alerts of the others.
create or replace function nexus_engine.adopt_insights(
  p_tiendas uuid[], p_as_of timestamptz,
  out opened nexus_engine.insight_ref[], out announced nexus_engine.announcement[], out again uuid[]
) language plpgsql
as $$
declare
  marks bigint[] := nexus_engine.marks_to_take(p_tiendas);
  gone record;
begin
  opened := '{}'; announced := '{}'; again := '{}';
  if cardinality(marks) = 0 then
    return;
  end if;
  begin
    perform nexus_engine.note_cleared(p_tiendas, marks);
    perform nexus_engine.note_archived(p_tiendas, marks);
    select a.opened, a.announced into opened, announced
    from nexus_engine.apply_verdicts(nexus_engine.foreign_insights(p_tiendas, marks, p_as_of), p_as_of) a;
    select f.tiendas, f.announced into gone from nexus_engine.forget_refreshed(p_tiendas, marks) f;
    again := gone.tiendas;
    announced := announced || gone.announced;
  exception when others then
    if nexus_engine.is_passing(sqlstate) then
      raise;
    end if;
    raise warning 'nexus: what others wrote to insights could not be adopted: %', sqlerrm;
    opened := '{}'; announced := '{}'; again := '{}';
  end;
  delete from nexus_engine.insight_mark m where m.tienda_id = any (p_tiendas) and m.id = any (marks)
    and (m.what <> 'dismissed' or m.at <= clock_timestamp() - nexus_engine.refresh_takes());
end;
$$;

-- What the POS deletes while it is active is cleared: not told again, but what the POS itself writes of it stays.
create or replace function nexus_engine.note_cleared(p_tiendas uuid[], p_marks bigint[]) returns void
language plpgsql set plan_cache_mode = force_custom_plan set enable_seqscan = off
as $$
declare
  deleted uuid[] := array(
    select m.insight_id from nexus_engine.insight_mark m
    where m.tienda_id = any (p_tiendas) and m.id = any (p_marks) and m.what = 'deleted');
begin
  if cardinality(deleted) > 0 then
    update nexus_engine.open_insight o set cleared = true
    where o.tienda_id = any (p_tiendas) and o.insight_id = any (deleted) and not o.cleared;
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

-- The insights of these notes that are active and not known, of open stores and enabled types, each with what is to
-- become of it. The subject of a summary is the latest that was told, or that is to be told. What names no product,
-- and what the store has muted, is archived.
create or replace function nexus_engine.foreign_insights(p_tiendas uuid[], p_marks bigint[], p_as_of timestamptz)
returns nexus_engine.foreign_insight[]
language plpgsql set plan_cache_mode = force_custom_plan set enable_seqscan = off set enable_nestloop = off
as $$
declare
  ids uuid[];
  noted_at timestamptz[];
  -- The only ones that stores had, see note_archived: few, and not looked for in all notes of a store.
  only_ones nexus_engine.insight_mark[] := array(
    select m from nexus_engine.insight_mark m where m.tienda_id = any (p_tiendas) and m.what = 'dismissed');
  -- As a variable, so that it is looked up by hash.
  known uuid[];
begin
  select array_agg(m.insight_id), array_agg(m.at) into ids, noted_at
  from (
    select k.insight_id, max(k.at) as at from nexus_engine.insight_mark k
    where k.tienda_id = any (p_tiendas) and k.id = any (p_marks) and k.what = 'active' group by k.insight_id
  ) m;
  if ids is null then
    return '{}';
  end if;
  known := array(
    select k.insight_id from nexus_engine.open_insight k
    where k.tienda_id = any (p_tiendas) and k.insight_id = any (ids));
  return array(
    select row(row(n.tienda_id, n.tipo, n.subject, n.id)::nexus_engine.insight_ref, n.kind,
      case when shown.is_active then shown.id end,
      case
        when n.subject is null or n.is_muted or n.place > 1 then 'archive'
        when o.subject is null then 'open'
        when shown.is_active then case when n.created_at >= shown.created_at then 'replace' else 'archive' end
        when o.cleared or exists (
          select from unnest(only_ones) only_one
          where only_one.insight_id = o.insight_id
            and n.noted_at between only_one.at and only_one.at + interval '3 seconds') then 'replace'
        else 'archive'
      end)::nexus_engine.foreign_insight
    from (
      -- The newest of each subject first.
      select f.*, row_number() over (partition by f.tienda_id, f.tipo, f.subject order by f.created_at desc, f.id) as place
      from (
        select i.id, i.tienda_id, it.tipo, it.kind, i.created_at, noted.at as noted_at,
          it.tipo = any (s.muted_types) as is_muted,
          case it.kind when 'state' then nexus_engine.producto_of(i.extra_data)::text
            else coalesce(
              (select told.subject from nexus_engine.open_insight told
               where told.tienda_id = i.tienda_id and told.tipo = it.tipo and told.insight_id is not null
               order by told.subject desc limit 1),
              (select p.subject from nexus_engine.store_period(it.period, array[i.tienda_id],
                p_as_of - coalesce(it.params ->> 'settle', '0')::interval) p))
          end as subject
        from public.insights i
        join nexus_engine.insight_type it on it.tipo = i.tipo::text and it.enabled
        cross join lateral (
          select k.muted_types from nexus_engine.store k where k.tienda_id = i.tienda_id and k.is_active offset 0
        ) s
        join unnest(ids, noted_at) noted (id, at) on noted.id = i.id
        where i.id = any (ids) and i.id <> all (known) and i.is_active
      ) f
    ) n
    left join lateral (
      select k.* from nexus_engine.open_insight k
      where k.tienda_id = n.tienda_id and k.tipo = n.tipo and k.subject = n.subject offset 0
    ) o on true
    left join lateral (
      select k.id, k.is_active, k.created_at from public.insights k where k.id = o.insight_id offset 0
    ) shown on true);
end;
$$;

-- Archives what is to be archived, and opens the others: what stands for them then is compared whatever it says.
create or replace function nexus_engine.apply_verdicts(
  p_foreign nexus_engine.foreign_insight[], p_as_of timestamptz,
  out opened nexus_engine.insight_ref[], out announced nexus_engine.announcement[]
) language plpgsql set plan_cache_mode = force_custom_plan set enable_seqscan = off set enable_nestloop = off
as $$
declare
  tiendas uuid[] := array(select distinct (f.ref).tienda_id from unnest(p_foreign) f);
  repeats nexus_engine.insight_ref[] := array(
    select row((f.ref).tienda_id, (f.ref).tipo, coalesce((f.ref).subject, ''),
      case f.verdict when 'archive' then (f.ref).insight_id else f.shown_id end)::nexus_engine.insight_ref
    from unnest(p_foreign) f where f.verdict = 'archive' or f.shown_id is not null);
begin
  opened := array(select f.ref from unnest(p_foreign) f where f.verdict <> 'archive');
  update nexus_engine.open_insight o
  set insight_id = (f.ref).insight_id, content_hash = null, cleared = false,
    look_again_at = case when f.kind = 'period' then '-infinity'::timestamptz end
  from unnest(p_foreign) f
  where f.verdict = 'replace' and o.tienda_id = any (tiendas)
    and o.tienda_id = (f.ref).tienda_id and o.tipo = (f.ref).tipo and o.subject = (f.ref).subject;
  insert into nexus_engine.open_insight (tienda_id, tipo, subject, insight_id, nivel_urgencia, since, look_again_at)
  select (f.ref).tienda_id, (f.ref).tipo, (f.ref).subject, i.id,
    case when i.nivel_urgencia::text in ('BAJA', 'MEDIA', 'ALTA', 'CRITICA') then i.nivel_urgencia::text else 'BAJA' end,
    p_as_of, case when f.kind = 'period' then '-infinity'::timestamptz end
  from unnest(p_foreign) f
  cross join lateral (select k.id, k.nivel_urgencia from public.insights k where k.id = (f.ref).insight_id offset 0) i
  where f.verdict = 'open';
  announced := nexus_engine.archive_repeats(repeats, p_as_of);
end;
$$;

-- Archives these insights, and of each subject deletes the one that was archived like this before.
create or replace function nexus_engine.archive_repeats(p_repeats nexus_engine.insight_ref[], p_as_of timestamptz)
returns nexus_engine.announcement[]
language plpgsql set plan_cache_mode = force_custom_plan set enable_seqscan = off
as $$
declare
  ids uuid[] := array(select r.insight_id from unnest(p_repeats) r);
  resolved nexus_engine.announcement[];
begin
  if cardinality(ids) = 0 then
    return '{}';
  end if;
  with archived as (
    update public.insights i
    set is_active = false,
      extra_data = coalesce(i.extra_data, '{}') || jsonb_build_object('resuelto_at', nexus_engine.iso_utc(p_as_of))
    where i.is_active and i.id = any (ids)
    returning i.tienda_id, i.id
  )
  select array_agg(row(a.tienda_id, a.id, 'resolved')::nexus_engine.announcement) into resolved from archived a;
  perform nexus_engine.remember_repeats(p_repeats);
  return coalesce(resolved, '{}');
end;
$$;

-- Remembers these archived insights, for which others stand or nothing should, and deletes those of the same
-- subjects that earlier transactions remembered.
create or replace function nexus_engine.remember_repeats(p_repeats nexus_engine.insight_ref[]) returns void
language plpgsql set plan_cache_mode = force_custom_plan set enable_seqscan = off
as $$
declare
  ids uuid[] := array(select r.insight_id from unnest(p_repeats) r);
  earlier tid[];
  earlier_ids uuid[];
begin
  select array_agg(k.ctid), array_agg(k.insight_id) into earlier, earlier_ids
  from (select distinct r.tienda_id, r.tipo, r.subject from unnest(p_repeats) r) r
  cross join lateral (
    select b.ctid, b.insight_id from nexus_engine.repeated_insight b
    where b.tienda_id = r.tienda_id and b.tipo = r.tipo and b.subject = r.subject
      and b.xid <> pg_current_xact_id() offset 0
  ) k;
  delete from nexus_engine.repeated_insight b where b.ctid = any (earlier);
  delete from public.insights i
  where i.id = any (earlier_ids) and i.id <> all (ids) and not i.is_active and i.extra_data ? 'resuelto_at';
  insert into nexus_engine.repeated_insight (tienda_id, tipo, subject, insight_id)
  select distinct r.tienda_id, r.tipo, r.subject, r.insight_id from unnest(p_repeats) r
  on conflict do nothing;
end;
$$;

-- After a forced refresh of the POS has had its time: what it archived and did not write again is told anew, as after
-- a forced refresh of ours. The summary that was shown is shown again.
create or replace function nexus_engine.forget_refreshed(
  p_tiendas uuid[], p_marks bigint[], out tiendas uuid[], out announced nexus_engine.announcement[]
) language plpgsql set plan_cache_mode = force_custom_plan set enable_seqscan = off
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

-- After what was opened has been compared: one that has nothing to tell was archived, and counts as a repeat.
-- Returns what to announce of it all: an insight that stays is new to whoever listens.
create or replace function nexus_engine.settle_insights(
  p_opened nexus_engine.insight_ref[], p_announced nexus_engine.announcement[]
) returns nexus_engine.announcement[]
language plpgsql set plan_cache_mode = force_custom_plan set enable_seqscan = off
as $$
declare
  ids uuid[] := array(select o.insight_id from unnest(p_opened) o);
  active uuid[];
begin
  if cardinality(ids) = 0 then
    return p_announced;
  end if;
  active := array(select i.id from public.insights i where i.id = any (ids) and i.is_active);
  perform nexus_engine.remember_repeats(array(
    select r from unnest(p_opened) r
    left join lateral (
      select k.insight_id from nexus_engine.open_insight k
      where k.tienda_id = r.tienda_id and k.tipo = r.tipo and k.subject = r.subject offset 0
    ) o on true
    where r.insight_id <> all (active) and r.insight_id is distinct from o.insight_id));
  return array(select a from unnest(p_announced) a where a.insight_id <> all (ids)) || array(
    select row(r.tienda_id, r.insight_id, case when r.insight_id = any (active) then 'new' else 'resolved' end)::nexus_engine.announcement
    from unnest(p_opened) r);
end;
$$;
