-- One active insight a type and product, or day, whoever wrote it. What others write to insights is noted by a
-- trigger in insight_mark; the drain takes the notes within milliseconds, a pass takes those of its stores.
-- An active insight of an enabled type that the engine does not know is opened as if it were ours, and then
-- compared like all others: its text becomes ours, or it is archived, because there is nothing to tell. Where ours
-- stands already the newest of both stays, because the POS looks back 24 hours only, of sales 6, before it
-- writes another. Where ours was dismissed the other is archived as well. What the POS says of its last 24 hours stays
-- as it is while there is no summary of ours to put in its place, see tell_periods.

-- Takes the notes of these stores, which the caller has locked in an earlier statement, and decides what becomes of
-- the insights that they are about. The caller then compares what was opened, and ends with settle_insights.
--   opened: insights that stand for their subject now, with a content that is not ours yet. announced: of those
--   that were archived. again: stores of which everything is to be compared.
-- What it cannot decide it leaves as it is, with a warning: one store's rows must not stop the alerts of the others.
create or replace function nexus_engine.adopt_insights(
  p_tiendas uuid[], p_as_of timestamptz,
  out opened nexus_engine.insight_ref[], out announced nexus_engine.announcement[], out again uuid[]
) language plpgsql set row_security = off
as $$
declare
  marks bigint[] := nexus_engine.marks_to_take(p_tiendas);
  gone record;
begin
  opened := '{}'; announced := '{}'; again := '{}';
  if cardinality(marks) = 0 then
    return;
  end if;
  -- What row level security refuses is refused here: switched off at this moment it would explain nothing below, and
  -- the notes would be lost. From here on we hold the locks without which nobody switches it.
  perform from public.insights i cross join public.tiendas t where false;
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
        -- No summary, because nothing had been sold, or nothing is left of it.
        when o.insight_id is null or n.kind = 'period' and shown.extra_data ->> 'resuelto_at' is not null then 'replace'
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
          -- Moved since to a store that the caller has not locked, it is noted for that one.
          and i.tienda_id = any (p_tiendas)
      ) f
    ) n
    left join lateral (
      select k.* from nexus_engine.open_insight k
      where k.tienda_id = n.tienda_id and k.tipo = n.tipo and k.subject = n.subject offset 0
    ) o on true
    left join lateral (
      select k.id, k.is_active, k.created_at, k.extra_data from public.insights k where k.id = o.insight_id offset 0
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
language plpgsql set row_security = off set plan_cache_mode = force_custom_plan set enable_seqscan = off
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
language plpgsql set row_security = off set plan_cache_mode = force_custom_plan set enable_seqscan = off
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
