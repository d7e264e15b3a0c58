-- Putting everything of ours on the POS's tables. detach.sql takes it off.

-- Puts everything of ours on the POS's tables, and deletes the note of detach(): what is missing of our functions
-- and views, from the texts of the files that made them, then our triggers. What happened
-- without the triggers is found afterwards, by the job check_stock, and until then by passes that look at
-- every product. Where the triggers on sales were missing, the rollups are made anew by the next roll_up, and
-- not read until then. Replaces the triggers of an earlier release; does nothing where all is there.
-- Call it as a member of nexus_owner that owns the POS's tables or has the right TRIGGER on them. Nobody's sale
-- waits for long: see nexus_engine.try_for_locks.
-- Errors: NX006 where a column of the POS is missing or of another kind, with all of them; 42501 with the grants
-- that lack; 55P03 when the POS keeps its tables locked for long. Nothing is changed then.
create or replace function nexus_engine.attach() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  made_anew boolean := false;
begin
  -- One at a time. A detach() that is under way is waited for, and one that comes now waits for us.
  lock table nexus_engine.detached in share row exclusive mode;
  perform nexus_engine.check_pos_tables();
  perform nexus_engine.grant_pos_tables();
  if exists (select from nexus_engine.detached) or exists (select from nexus_engine.missing_objects()) then
    -- Before the views: a roll-up that runs reads them.
    perform pg_advisory_xact_lock(nexus_engine.rollups_lock());
    perform nexus_engine.apply_texts();
    made_anew := true;
  end if;
  delete from nexus_engine.detached;
  perform nexus_engine.attach_triggers();
  if made_anew then
    -- For nexus_engine.was_just_changed(). Last, because the triggers may have waited for a minute.
    update nexus_engine.migration m set applied_at = clock_timestamp() where m.text is not null;
  end if;
end;
$$;

-- Errors: NX006, a line for each table and column that is not as we need it.
create or replace function nexus_engine.check_pos_tables() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  problems text;
begin
  -- Also asked by src/database/pos.ts, before this function is there.
  execute format('select string_agg(p.problem, e''\n  '') from (%s) p',
    (select m.text from nexus_engine.migration m where m.name = 'pos/problems.sql')) into problems;
  if problems is not null then
    raise exception e'the tables of the POS are not as we need them, and nothing was attached:\n  %', problems
      using errcode = 'NX006';
  end if;
end;
$$;

-- The triggers, and what has to be looked at again where some were missing. They come last: from then on
-- whoever sells waits for the end of the transaction.
create or replace function nexus_engine.attach_triggers() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  were_new boolean := nexus_engine.attached() and not nexus_engine.has_old_triggers();
  were_followed boolean := were_new and nexus_engine.triggers_are_followed();
  sales_were boolean := nexus_engine.has_triggers(array['public.ventas', 'public.detalles_venta']::regclass[]);
  insights_were boolean := nexus_engine.has_triggers(array['public.insights']::regclass[]);
  pos record := nexus_engine.pos_has_rows();
begin
  if not were_new then
    delete from nexus_engine.stock_told;
  end if;
  if not (were_new and insights_were) then
    -- Before the tables: a roll-up that runs reads them.
    perform pg_advisory_xact_lock(nexus_engine.rollups_lock());
  end if;
  if not sales_were then
    perform nexus_engine.forget_rollups();
  end if;
  if not insights_were then
    delete from nexus_engine.product_insight_known;
  end if;
  if not were_followed then
    insert into nexus_engine.stock_ceiling (ceiling) values (-1) on conflict (only_one) do update set ceiling = -1;
  end if;
  if not insights_were and pos.insights or not were_followed and pos.productos then
    perform graphile_worker.add_job('check_stock', job_key => 'check_stock:ceiling', max_attempts => 10);
  end if;
  if not (were_new and insights_were) then
    perform nexus_engine.try_for_locks('select nexus_engine.make_all_triggers()');
  end if;
  if not insights_were and not pos.insights then
    insert into nexus_engine.product_insight_known default values;
  end if;
  if not were_followed and not pos.productos then
    perform nexus_engine.follow_triggers();
  end if;
end;
$$;

-- Whether there are any: asked with the rights of nexus_owner, which sees them all, and not of whoever attaches. As
-- if there were where row level security would hide some: then they are looked for when it does not any more.
create or replace function nexus_engine.pos_has_rows(out productos boolean, out insights boolean)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = off
as $$
begin
  productos := true;
  insights := true;
  if not exists (select from nexus_engine.hidden_tables()) then
    productos := exists (select from public.productos);
    insights := exists (select from public.insights);
  end if;
end;
$$;

-- All triggers, or none where their locks are not had within 25 ms. The first trigger of each table takes its lock:
-- the time goes into waiting, not into making the others.
-- The order is that of a checkout, which reads products, inserts a ticket and its lines, then updates
-- products: whoever is past the first table gets through.
create or replace function nexus_engine.make_all_triggers() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  ends_at timestamptz := clock_timestamp() + interval '25 ms';
  tables regclass[] := array['public.ventas', 'public.detalles_venta', 'public.productos', 'public.insights'];
begin
  perform nexus_engine.execute_until(ends_at, array(
    select min(t.statement) from nexus_engine.trigger_statements(tables) t
    group by t.relation order by array_position(tables, t.relation)));
  perform nexus_engine.disable_unwanted_triggers(), nexus_engine.make_triggers(t) from unnest(tables) t;
end;
$$;

-- The last step of check_stock, which has looked at every product since the triggers were made.
create or replace function nexus_engine.follow_triggers() returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  update nexus_engine.stock_ceiling c set ceiling = nexus_engine.seen_up_to() where nexus_engine.attached()
$$;

-- From now on no rollup is read, until it is made anew. Call it under rollups_lock, for which roll-ups
-- that began with other triggers were waited for.
create or replace function nexus_engine.forget_rollups() returns void
language sql
as $$
  delete from nexus_engine.rollup_state;
  delete from nexus_engine.sale_mark;
$$;
