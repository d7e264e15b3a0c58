-- Summaries of days and weeks: exactly one a store, type and period, told once, then kept true in place.

-- Tells the periods of one type that are due, and corrects those told before whose numbers differ now. See
-- due_periods_v2 for which they are. The caller holds the locks of the stores.
--   updated: summaries completed or corrected. archived: predecessors, summaries of periods whose sales were
--   all annulled, and those that are withdrawn.
create or replace function nexus_engine.reconcile_period(
  p_tipo text, p_tiendas uuid[], p_as_of timestamptz,
  out inserted int, out updated int, out archived int, out announced nexus_engine.announcement[]
) language plpgsql set row_security = off
as $$
declare
  -- What is noted after this is left for the next pass, and what is noted of a store that muted the type for when
  -- it does not any more.
  noted tid[] := array(
    select c.ctid from nexus_engine.sales_changed c
    join nexus_engine.store s on s.tienda_id = c.tienda_id
    where c.tipo = p_tipo and c.tienda_id = any (p_tiendas) and not p_tipo = any (s.muted_types));
  due record;
  findings nexus_engine.finding[];
  done record;
begin
  inserted := 0; updated := 0;
  announced := nexus_engine.withdraw_early(p_tipo,
    array(select c.tienda_id from nexus_engine.sales_changed c where c.ctid = any (noted) and c.every_period), p_as_of);
  archived := cardinality(array(select a from unnest(announced) a where a.kind = 'resolved'));
  for due in
    select d.ask_as_of, array_agg(d.tienda_id order by d.tienda_id, d.subject) as tiendas,
      array_agg(d.subject order by d.tienda_id, d.subject) as subjects,
      array_agg(d.look_again_at order by d.tienda_id, d.subject) as look_again_at
    from nexus_engine.due_periods_v2(p_tipo, p_tiendas, p_as_of) d
    group by d.ask_as_of order by d.ask_as_of
  loop
    -- Asked as of its end or announcement, not of now: a summary that is late says what it would have said.
    execute format('select array_agg(f) from nexus_engine.%I($1, $2) f', 'insight_' || lower(p_tipo))
    into findings using due.tiendas, due.ask_as_of;
    select t.* into done
    from nexus_engine.tell_periods(p_tipo, due.tiendas, due.subjects, due.look_again_at, findings, p_as_of) t;
    inserted := inserted + done.inserted;
    updated := updated + done.updated;
    archived := archived + done.archived;
    announced := announced || done.announced;
  end loop;
  delete from nexus_engine.sales_changed c
  where c.ctid = any (noted) and c.tipo = p_tipo and c.tienda_id = any (p_tiendas);
end;
$$;

-- Withdraws what was told of periods that are to be told later only, now that the store's days are others: what was
-- sold in them belongs to the period before, which is shown again if it was told. They are told anew in their time.
-- Returns those that were shown or are shown again.
create or replace function nexus_engine.withdraw_early(p_tipo text, p_tiendas uuid[], p_as_of timestamptz)
returns nexus_engine.announcement[]
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set row_security = off
as $$
declare
  early uuid[];
  resolved nexus_engine.announcement[];
  again nexus_engine.announcement[];
begin
  if cardinality(p_tiendas) = 0 then
    return '{}';
  end if;
  with forgotten as (
    delete from nexus_engine.open_insight o
    using nexus_engine.insight_type t,
      nexus_engine.store_periods(t.period, p_tiendas, p_as_of - coalesce(t.params ->> 'settle', '0')::interval, '{-1,-2}') p
    where t.tipo = p_tipo and o.tipo = p_tipo and o.tienda_id = p.tienda_id and o.subject = p.subject
      and p.announced_at > p_as_of
    returning o.insight_id
  )
  select array_agg(f.insight_id) into early from forgotten f where f.insight_id is not null;
  with gone as (
    delete from public.insights i where i.id = any (early) returning i.tienda_id, i.id, i.is_active
  )
  select array_agg(row(g.tienda_id, g.id, 'resolved')::nexus_engine.announcement) into resolved from gone g where g.is_active;
  with shown as (
    update public.insights i set is_active = true
    where not i.is_active and not coalesce(i.extra_data, '{}') ? 'resuelto_at' and i.id = any (array(
      select before.insight_id
      from (select distinct g.tienda_id from unnest(resolved) g) s
      cross join lateral (
        select o.insight_id from nexus_engine.open_insight o
        where o.tienda_id = s.tienda_id and o.tipo = p_tipo and o.insight_id is not null
        order by o.subject desc limit 1
      ) before))
    returning i.tienda_id, i.id
  )
  select array_agg(row(s.tienda_id, s.id, 'new')::nexus_engine.announcement) into again from shown s;
  return coalesce(resolved, '{}') || coalesce(again, '{}');
end;
$$;

-- Makes the insights of these periods (one of p_subjects and p_look_again_at for each of p_tiendas) say what the
-- findings say. The claim in open_insight is what makes it exactly one a store, type and period: whoever comes
-- second finds it taken and inserts nothing. What the owner dismissed or deleted stays so, and a dismissed row is
-- kept true all the same. Planned once a session and by index, see apply_difference.
create or replace function nexus_engine.tell_periods(
  p_tipo text, p_tiendas uuid[], p_subjects text[], p_look_again_at timestamptz[],
  p_findings nexus_engine.finding[], p_as_of timestamptz,
  out inserted int, out updated int, out archived int, out announced nexus_engine.announcement[]
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
declare
  changes nexus_engine.change[];
  differing nexus_engine.change[];
  fresh nexus_engine.announcement[];
  corrected nexus_engine.announcement[];
  resolved nexus_engine.announcement[];
begin
  select array_agg(row(
    d.tienda_id, d.subject, f.nivel_urgencia, f.mensaje, f.extra_data, null, o.tienda_id is not null,
    o.insight_id, o.nivel_urgencia,
    -- Whether the insight says something else, or says something where there is nothing any more: what the POS says of
    -- its last hours may be so all the same.
    case when f.mensaje is null then not coalesce(i.extra_data, '{}') ?| array['resuelto_at', 'periodo_horas']
      else (f.nivel_urgencia, f.mensaje, f.extra_data)
        is distinct from (i.nivel_urgencia::text, i.mensaje::text, i.extra_data) end and i.id is not null,
    case when f.mensaje is not null and o.insight_id is null then gen_random_uuid() end
  )::nexus_engine.change)
  into changes
  from unnest(p_tiendas, p_subjects) d (tienda_id, subject)
  left join unnest(p_findings) f on f.tienda_id = d.tienda_id and f.subject = d.subject
  left join lateral (
    select o.* from nexus_engine.open_insight o
    where o.tienda_id = d.tienda_id and o.tipo = p_tipo and o.subject = d.subject offset 0
  ) o on true
  left join lateral (
    select i.* from public.insights i where i.id = o.insight_id offset 0
  ) i on true;

  with claimed as (
    insert into nexus_engine.open_insight as o
      (tienda_id, tipo, subject, insight_id, nivel_urgencia, since, look_again_at)
    select c.tienda_id, p_tipo, c.subject, c.new_id, c.nivel_urgencia, p_as_of, d.look_again_at
    from unnest(changes) c
    join unnest(p_tiendas, p_subjects, p_look_again_at) d (tienda_id, subject, look_again_at)
      on d.tienda_id = c.tienda_id and d.subject = c.subject
    on conflict (tienda_id, tipo, subject) do update
      set insight_id = coalesce(o.insight_id, excluded.insight_id),
        nivel_urgencia = coalesce(excluded.nivel_urgencia, o.nivel_urgencia),
        since = case when o.insight_id is null and excluded.insight_id is not null then excluded.since else o.since end,
        look_again_at = excluded.look_again_at
      where (o.insight_id is null and excluded.insight_id is not null)
        or o.look_again_at is distinct from excluded.look_again_at
        or excluded.nivel_urgencia <> o.nivel_urgencia
    returning o.insight_id
  ),
  told as (
    insert into public.insights (id, tienda_id, tipo, mensaje, nivel_urgencia, is_active, extra_data, created_at)
    select c.new_id, c.tienda_id, p_tipo, c.mensaje, c.nivel_urgencia, true, c.extra_data, p_as_of
    from unnest(changes) c join claimed k on k.insight_id = c.new_id
    returning tienda_id, id
  )
  select coalesce(array_agg(row(t.tienda_id, t.id, 'new')::nexus_engine.announcement), '{}') into fresh from told t;

  differing := array(select c from unnest(changes) c where c.shown and c.mensaje is not null);
  updated := cardinality(differing);
  corrected := nexus_engine.correct_periods(p_tipo, differing);
  resolved := nexus_engine.withdraw_periods(array(select c.shown_id from unnest(changes) c where c.shown and c.mensaje is null), p_as_of);
  if cardinality(fresh) > 0 then
    resolved := resolved || nexus_engine.archive_predecessors(p_tipo,
      array(select c.tienda_id from unnest(changes) c where c.new_id is not null order by c.tienda_id, c.subject),
      array(select c.subject from unnest(changes) c where c.new_id is not null order by c.tienda_id, c.subject));
  end if;
  inserted := cardinality(fresh);
  archived := cardinality(resolved);
  announced := fresh || corrected || resolved;
end;
$$;

-- Writes these findings into the insights that stand for them. One whose sales had all been annulled and that has
-- sales again is shown again, unless a later period was told meanwhile. Returns those that are shown.
create or replace function nexus_engine.correct_periods(p_tipo text, p_changes nexus_engine.change[])
returns nexus_engine.announcement[]
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
declare
  shown nexus_engine.announcement[];
begin
  with written as (
    update public.insights i
    set mensaje = c.mensaje, nivel_urgencia = c.nivel_urgencia, extra_data = c.extra_data,
      is_active = i.is_active or (i.extra_data ->> 'resuelto_at' is not null and not exists (
        select from nexus_engine.open_insight newer
        where newer.tienda_id = c.tienda_id and newer.tipo = p_tipo and newer.subject > c.subject
          and newer.insight_id is not null))
    from unnest(p_changes) c
    where i.id = c.shown_id
    returning i.tienda_id, i.id, i.is_active
  )
  select array_agg(row(w.tienda_id, w.id, 'changed')::nexus_engine.announcement) into shown
  from written w where w.is_active;
  return coalesce(shown, '{}');
end;
$$;

-- Archives the summaries of periods of which no sale is left. Returns those that were shown. The others, which the owner
-- dismissed, have a null as their resuelto_at, and so stay hidden when sales come back.
create or replace function nexus_engine.withdraw_periods(p_ids uuid[], p_as_of timestamptz)
returns nexus_engine.announcement[]
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set row_security = off
as $$
declare
  were_shown uuid[] := array(select i.id from public.insights i where i.id = any (p_ids) and i.is_active);
  resolved nexus_engine.announcement[];
begin
  with written as (
    update public.insights i
    set is_active = false,
      extra_data = coalesce(i.extra_data, '{}')
        || jsonb_build_object('resuelto_at', case when i.is_active then nexus_engine.iso_utc(p_as_of) end)
    where i.id = any (p_ids)
    returning i.tienda_id, i.id
  )
  select array_agg(row(w.tienda_id, w.id, 'resolved')::nexus_engine.announcement) into resolved
  from written w where w.id = any (were_shown);
  return coalesce(resolved, '{}');
end;
$$;

-- Archives the summaries that came before these (one of p_subjects for each of p_tiendas), if they
-- are still active, and of these those whose successor has been told already, because their day had
-- no sales until then. Returns them. By index, for the reason given at apply_difference; their ids
-- as an array, because a join could read the insights once for each of them (see apply_changes).
create or replace function nexus_engine.archive_predecessors(p_tipo text, p_tiendas uuid[], p_subjects text[])
returns nexus_engine.announcement[]
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set row_security = off
as $$
declare
  resolved nexus_engine.announcement[];
begin
  with archived as (
    update public.insights i set is_active = false
    where i.is_active and i.id = any (array(
      select before.insight_id
      from unnest(p_tiendas, p_subjects) n (tienda_id, subject)
      cross join lateral (
        select o.insight_id from nexus_engine.open_insight o
        where o.tienda_id = n.tienda_id and o.tipo = p_tipo and o.subject < n.subject and o.insight_id is not null
        order by o.subject desc limit 1
      ) before
      union all
      select late.insight_id
      from unnest(p_tiendas, p_subjects) n (tienda_id, subject)
      join nexus_engine.open_insight late
        on late.tienda_id = n.tienda_id and late.tipo = p_tipo and late.subject = n.subject
      where exists (
        select from nexus_engine.open_insight newer
        where newer.tienda_id = n.tienda_id and newer.tipo = p_tipo and newer.subject > n.subject
          and newer.insight_id is not null)))
    returning i.tienda_id, i.id
  )
  select array_agg(row(a.tienda_id, a.id, 'resolved')::nexus_engine.announcement) into resolved from archived a;
  return coalesce(resolved, '{}');
end;
$$;
