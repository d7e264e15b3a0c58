-- Makes public.insights equal to what the functions of sql/insights say.

-- Inserts, updates and archives what one type of kind `state` asks for.
create or replace function nexus_engine.reconcile_state(
  p_tipo text, p_tiendas uuid[], p_as_of timestamptz,
  out inserted int, out updated int, out archived int, out announced nexus_engine.announcement[]
) language plpgsql set row_security = off
as $$
declare
  -- A store that muted the type has no findings, and so its open alerts are archived.
  speaking uuid[] := array(
    select s.tienda_id from nexus_engine.store s
    where s.tienda_id = any (p_tiendas) and not p_tipo = any (s.muted_types));
  composition bigint := nexus_engine.composition(p_tipo);
  differing record;
begin
  inserted := 0; updated := 0; archived := 0;
  select d.* into differing from nexus_engine.difference(p_tipo, p_tiendas, speaking, p_as_of, composition) d;
  if differing.tiendas is null then
    return;
  end if;
  select a.inserted, a.updated, a.archived, a.announced into inserted, updated, archived, announced
  from nexus_engine.apply_difference(p_tipo, nexus_engine.compose_findings(p_tipo,
    array(select d from unnest(differing.tiendas) d where d = any (speaking)),
    p_as_of, composition, differing.content_hashes, differing.remembered), p_as_of) a;
end;
$$;

-- Brings up to date what is open already. Few changes are looked up one by one, with a plan made once a
-- session; many are joined by hash, planned each time. A nested loop over many takes hours where the
-- statistics say that a table is empty, as autoanalyze finds it when it looks while the first pass, some
-- hundred thousand rows, has not committed yet.
create or replace function nexus_engine.apply_changes(
  p_tipo text, p_changes nexus_engine.change[], p_as_of timestamptz,
  out updated int, out archived int, out announced nexus_engine.announcement[]
) language plpgsql set plan_cache_mode = force_custom_plan set enable_nestloop = on set enable_seqscan = on set row_security = off
as $$
declare
  few boolean := cardinality(p_changes) <= 500;
begin
  perform set_config('plan_cache_mode', case when few then 'force_generic_plan' else 'force_custom_plan' end, true),
    set_config('enable_nestloop', few::text, true), set_config('enable_seqscan', (not few)::text, true);
  with change as (
    select * from unnest(p_changes) c
  ),
  reopened as (
    update nexus_engine.open_insight o
    set insight_id = c.new_id, nivel_urgencia = c.nivel_urgencia, content_hash = c.content_hash, since = p_as_of,
      cleared = false
    from change c
    where c.new_id is not null
      and o.tienda_id = c.tienda_id and o.tipo = p_tipo and o.subject = c.subject
  ),
  updated_insight as (
    update public.insights i
    set mensaje = c.mensaje, nivel_urgencia = c.nivel_urgencia, extra_data = c.extra_data
    from change c
    where c.new_id is null and c.mensaje is not null and c.shown
      and i.id = c.shown_id and i.is_active
    returning i.tienda_id, i.id
  ),
  -- Follows only what was written: dismissed in between, the row keeps the urgency of that moment.
  followed as (
    update nexus_engine.open_insight o
    set nivel_urgencia = c.nivel_urgencia, content_hash = c.content_hash
    from change c join updated_insight u on u.id = c.shown_id
    where o.tienda_id = c.tienda_id and o.tipo = p_tipo and o.subject = c.subject
  ),
  -- Shown as it is already, or dismissed or deleted by the owner and no worse: remember the content,
  -- say nothing.
  silent as (
    update nexus_engine.open_insight o
    set content_hash = c.content_hash
    from change c
    where c.new_id is null and c.mensaje is not null and not c.shown
      and o.tienda_id = c.tienda_id and o.tipo = p_tipo and o.subject = c.subject
      and o.content_hash is distinct from c.content_hash
  ),
  archived_insight as (
    update public.insights i
    set is_active = false,
      extra_data = coalesce(i.extra_data, '{}') || jsonb_build_object('resuelto_at', nexus_engine.iso_utc(p_as_of))
    from change c
    where c.mensaje is null and i.id = c.shown_id and i.is_active
    returning i.tienda_id, i.id
  ),
  -- Of a product that is not seen at all, what the owner dismissed stays dismissed until purge has the proof that it is
  -- gone: its table may be being restored.
  closed as (
    delete from nexus_engine.open_insight o
    using change c
    where c.mensaje is null
      and o.tienda_id = c.tienda_id and o.tipo = p_tipo and o.subject = c.subject
      and (c.shown_id in (select a.id from archived_insight a)
        or not nexus_engine.is_missing_product(p_tipo, c.subject))
  )
  select (select count(*) from updated_insight), (select count(*) from archived_insight),
    array(
      select row(a.tienda_id, a.id, a.kind)::nexus_engine.announcement
      from (
        select u.tienda_id, u.id, 'changed' as kind from updated_insight u
        union all select r.tienda_id, r.id, 'resolved' from archived_insight r
      ) a)
  into updated, archived, announced;
end;
$$;

-- Makes the insights of one type of kind `state` follow these findings: new ones, changed ones, and
-- without a mensaje those that are gone. What is not among them stays as it is. A finding whose insight
-- says the same already writes at most its content_hash, so that another way of computing that hash
-- rewrites no insight.
-- Its statements are planned once a session, maybe while the tables are still empty: without the two
-- settings, and the fences (offset 0) that keep the planner to the keys, such a plan would read the whole
-- of insights for each change.
create or replace function nexus_engine.apply_difference(
  p_tipo text, p_findings nexus_engine.finding[], p_as_of timestamptz,
  out inserted int, out updated int, out archived int, out announced nexus_engine.announcement[]
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
declare
  changes nexus_engine.change[];
begin
  inserted := 0; updated := 0; archived := 0;

  -- Read in a statement of its own: the one that inserts would pass over its own rows at each look.
  select array_agg(row(
    f.tienda_id, f.subject, f.nivel_urgencia, f.mensaje, f.extra_data, f.content_key, o.tienda_id is not null,
    o.insight_id, o.nivel_urgencia,
    coalesce(i.is_active and (f.nivel_urgencia, f.mensaje, f.extra_data)
      is distinct from (i.nivel_urgencia::text, i.mensaje::text, i.extra_data), false),
    -- New, or worse than what the owner dismissed: a new row, never the old one revived.
    case when f.mensaje is not null and (o.tienda_id is null or (
        not coalesce(i.is_active, false)
        and nexus_engine.urgencia_rank(f.nivel_urgencia) < nexus_engine.urgencia_rank(o.nivel_urgencia)))
      then gen_random_uuid() end
  )::nexus_engine.change)
  into changes
  from unnest(p_findings) f
  left join lateral (
    select o.* from nexus_engine.open_insight o
    where o.tienda_id = f.tienda_id and o.tipo = p_tipo and o.subject = f.subject offset 0
  ) o on true
  left join lateral (
    select i.* from public.insights i where i.id = o.insight_id offset 0
  ) i on true;

  if changes is null then
    return;
  end if;

  with inserted_insight as (
    insert into public.insights (id, tienda_id, tipo, mensaje, nivel_urgencia, is_active, extra_data, created_at)
    select c.new_id, c.tienda_id, p_tipo, c.mensaje, c.nivel_urgencia, true, c.extra_data, p_as_of
    from unnest(changes) c where c.new_id is not null
    returning 1
  ),
  opened as (
    insert into nexus_engine.open_insight (tienda_id, tipo, subject, insight_id, nivel_urgencia, content_hash, since)
    select c.tienda_id, p_tipo, c.subject, c.new_id, c.nivel_urgencia, c.content_hash, p_as_of
    from unnest(changes) c where c.new_id is not null and not c.was_open
  )
  select count(*) from inserted_insight into inserted;
  announced := array(
    select row(c.tienda_id, c.new_id, 'new')::nexus_engine.announcement
    from unnest(changes) c where c.new_id is not null);

  -- Apart, for the sake of the first pass over many stores: the statistics may then have been taken
  -- while its rows were not yet visible, and a join would read all of them for each change.
  if not exists (select from unnest(changes) c where c.was_open) then
    return;
  end if;

  select a.updated, a.archived, apply_difference.announced || a.announced into updated, archived, announced
  from nexus_engine.apply_changes(p_tipo, array(select c from unnest(changes) c where c.was_open), p_as_of) a;
end;
$$;

-- What the release before calls, with all findings of these stores: for calls that are under way while
-- this one is installed. The next release drops it.
create or replace function nexus_engine.apply_findings(
  p_tipo text, p_tiendas uuid[], p_findings nexus_engine.finding[], p_as_of timestamptz,
  out inserted int, out updated int, out archived int, out announced nexus_engine.announcement[]
) language sql
as $$
  select d.inserted, d.updated, d.archived, d.announced
  from nexus_engine.apply_difference(p_tipo, p_findings, p_as_of) d
$$;

-- Reconciles one type. Where its function raises for the data of some store, halves the list until
-- that store stands alone in store_failure and all others are done; costs nothing when none fails.
-- Errors that say nothing about a store's data are raised again, for the job to be retried.
create or replace function nexus_engine.reconcile_isolated(
  p_tipo text, p_kind text, p_tiendas uuid[], p_as_of timestamptz,
  out inserted int, out updated int, out archived int, out failed int,
  out announced nexus_engine.announcement[]
) language plpgsql
as $$
declare
  half int := cardinality(p_tiendas) / 2;
  state text;
  text_of_error text;
  part record;
begin
  failed := 0;
  begin
    if p_kind = 'state' then
      select r.inserted, r.updated, r.archived, r.announced into inserted, updated, archived, announced
      from nexus_engine.reconcile_state(p_tipo, p_tiendas, p_as_of) r;
    else
      select r.inserted, r.updated, r.archived, r.announced into inserted, updated, archived, announced
      from nexus_engine.reconcile_period(p_tipo, p_tiendas, p_as_of) r;
    end if;
    perform nexus_engine.resolve_store_failure(p_tipo, p_tiendas, p_as_of);
    return;
  exception when others then
    get stacked diagnostics state = returned_sqlstate, text_of_error = message_text;
    if nexus_engine.is_passing(state) or left(state, 2) = '54' then
      raise;
    end if;
  end;

  inserted := 0; updated := 0; archived := 0; announced := null;
  -- Class 42 is a fault of the function, the same for every store: no use in looking for the one.
  if cardinality(p_tiendas) = 1 or left(state, 2) = '42' then
    perform nexus_engine.note_store_failure(p_tipo, p_tiendas, state, text_of_error, p_as_of);
    failed := cardinality(p_tiendas);
    return;
  end if;

  for part in
    select r.* from (values (p_tiendas[:half]), (p_tiendas[half + 1:])) h (tiendas)
    cross join lateral nexus_engine.reconcile_isolated(p_tipo, p_kind, h.tiendas, p_as_of) r
  loop
    inserted := inserted + part.inserted;
    updated := updated + part.updated;
    archived := archived + part.archived;
    failed := failed + part.failed;
    announced := announced || part.announced;
  end loop;
end;
$$;

-- Held while the insights of a store are written.
create or replace function nexus_engine.store_lock(p_tienda_id uuid) returns bigint
language sql immutable parallel safe
as $$
  select hashtextextended(p_tienda_id::text, 0)
$$;

-- Locks these stores against other reconcilers until the end of the transaction: one lock a store,
-- always in the same order. Call it in a statement of its own: what another session committed while
-- this one waited is then seen by the next statement's snapshot.
create or replace function nexus_engine.lock_stores(p_tiendas uuid[]) returns void
language plpgsql
as $$
begin
  -- What this transaction writes to insights is ours, whoever runs it: see on_insight_change.
  perform set_config('nexus.reconciles', 'on', true);
  perform pg_advisory_xact_lock(k.key)
  from (select nexus_engine.store_lock(t) as key from unnest(p_tiendas) t order by 1) k;
end;
$$;

-- Reconciles these stores at as_of, in the caller's transaction, and announces what changed.
--   p_tipos: types of nexus_engine.insight_type, null for all; disabled ones are passed over.
--   p_tiendas: stores; unknown and inactive ones are passed over.
--   returns one row a type: how many insights were inserted, updated and archived, and for how
--   many stores the type failed (see nexus_engine.store_failure).
-- Of types that the outbox brings up to date (nexus_engine.followed_types) only those stores are compared
-- of which not everything was told, or something happened since.
-- Errors: NX001 for an unknown type or a null as_of; NX004 outside READ COMMITTED, where the locks
-- would be taken after the snapshot and protect nothing.
create or replace function nexus_engine.reconcile(p_tipos text[], p_tiendas uuid[], p_as_of timestamptz)
returns table (tipo text, inserted int, updated int, archived int, failed int)
language plpgsql set search_path = pg_catalog, pg_temp set row_security = off
as $$
#variable_conflict use_column
declare
  unknown text;
  tiendas uuid[];
  unsettled uuid[];
  watched uuid[];
  stores uuid[];
  composition bigint;
  it record;
  done record;
  announced nexus_engine.announcement[];
  adopted record;
begin
  perform nexus_engine.require_read_committed('reconcile');
  if p_as_of is null then
    raise exception 'as_of: expected a timestamp, got null' using errcode = 'NX001', column = 'as_of';
  end if;
  select wanted into unknown from unnest(p_tipos) wanted
  where wanted is null or not exists (select from nexus_engine.insight_type known where known.tipo = wanted) limit 1;
  if found then
    raise exception 'tipos: expected types of nexus_engine.insight_type, got %', quote_nullable(unknown)
      using errcode = 'NX001', column = 'tipos';
  end if;

  tiendas := array(select t.id from public.tiendas t where t.id = any (p_tiendas) and t.is_active order by t.id);
  if cardinality(tiendas) = 0 then
    return;
  end if;

  perform nexus_engine.lock_stores(tiendas);

  perform nexus_engine.mark_foreign_insights(nexus_engine.unseen_stores(tiendas));
  select a.* into adopted from nexus_engine.adopt_insights(tiendas, p_as_of) a;
  -- What was opened is compared with the rest of its store.
  unsettled := array(
    select u from unnest(nexus_engine.unsettled_stores(tiendas)) u
    union select u from unnest(adopted.again) u
    union select o.tienda_id from unnest(adopted.opened) o where o.tipo = any (nexus_engine.followed_types()));
  if cardinality(unsettled) > 0 then
    perform nexus_engine.update_stock_watch(unsettled, p_as_of);
  end if;
  -- What the outbox has brought is told of every type that it brings up to date, asked for or not, and so is what
  -- was opened.
  for it in
    select known.tipo, known.kind, k.is_followed, k.is_asked
    from nexus_engine.insight_type known
    cross join lateral (
      select known.tipo = any (nexus_engine.followed_types()) as is_followed,
        p_tipos is null or known.tipo = any (p_tipos) as is_asked
    ) k
    where known.enabled and (k.is_asked or k.is_followed
      or known.tipo in (select o.tipo from unnest(adopted.opened) o))
    order by known.tipo
  loop
    stores := case when it.is_asked then nexus_engine.untold_stores(it.tipo, tiendas, unsettled)
      when it.is_followed then unsettled
      else array(select distinct o.tienda_id from unnest(adopted.opened) o where o.tipo = it.tipo) end;
    if cardinality(stores) = 0 then
      select 0 as inserted, 0 as updated, 0 as archived, 0 as failed into done;
    else
      if it.is_followed then
        -- Before anything is compared: what changes meanwhile is noted.
        watched := nexus_engine.watched_stores(stores);
        composition := nexus_engine.composition(it.tipo);
      end if;
      select r.* into done from nexus_engine.reconcile_isolated(it.tipo, it.kind, stores, p_as_of) r;
      announced := announced || done.announced;
      if it.is_followed then
        perform nexus_engine.note_told(it.tipo, watched, composition);
      end if;
    end if;
    if it.is_asked then
      return query select it.tipo, done.inserted, done.updated, done.archived, done.failed;
    end if;
  end loop;
  announced := nexus_engine.settle_insights(adopted.opened, adopted.announced || announced);
  -- Once for all types, so that a store is notified once.
  if cardinality(announced) > 0 then
    perform nexus_engine.announce(announced);
  end if;
end;
$$;
