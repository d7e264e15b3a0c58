-- Our triggers on the POS's tables, which they are and how they are put on. detach.sql takes them off.

-- Our triggers. Row-level, because a transition table costs a statement half as much again. As few as can
-- be, and with a condition only where it spares the calls of a checkout: Postgres copies what it knows of
-- a table's triggers, conditions and all, for every statement that writes it, and reads and folds
-- the condition of one that could fire. %1$L is a thousandth above nexus_engine.seen_up_to(): what rounds to that
-- or less is below it. Those of the release before keep their names, so that the rollups outlast a deploy, and
-- no trigger is left behind.
create or replace function nexus_engine.wanted_triggers()
returns table (name name, relation regclass, event text, level text, condition text, function text)
language sql stable parallel safe
as $$
  values
    ('nexus_stock_update'::name, 'public.productos'::regclass, 'update of stock_actual, is_active', 'row',
      'least(old.stock_actual, new.stock_actual) < double precision %1$L', 'on_stock_change'),
    ('nexus_product_change', 'public.productos'::regclass,
      'insert or delete or update of nombre, sku, tipo, atributos, tienda_id', 'row', null, 'on_product_change'),
    ('nexus_product_truncate', 'public.productos'::regclass, 'truncate', 'statement', null, 'on_products_truncate'),
    ('nexus_sale_insert', 'public.ventas'::regclass, 'insert', 'row', 'new.fecha < current_timestamp', 'on_sale_change'),
    ('nexus_sale_update', 'public.ventas'::regclass, 'update or delete', 'row', null, 'on_sale_change'),
    ('nexus_sale_truncate', 'public.ventas'::regclass, 'truncate', 'statement', null, 'on_sales_truncate'),
    ('nexus_line_update', 'public.detalles_venta'::regclass, 'update or delete', 'row', null, 'on_line_change'),
    ('nexus_line_truncate', 'public.detalles_venta'::regclass, 'truncate', 'statement', null, 'on_sales_truncate'),
    ('nexus_insight_change', 'public.insights'::regclass,
      'insert or delete or update of id, tienda_id, tipo, extra_data, is_active', 'row',
      'current_user not in (''nexus_worker'', ''nexus_owner'')', 'on_insight_change')
$$;

-- Every trigger of ours that there is on the POS's tables.
create or replace view nexus_engine.own_trigger as
select t.tgname as name, t.tgrelid::regclass as relation,
  t.tgfoid::regproc as function, t.tgqual is not null as has_condition, t.tgenabled = 'O' as is_enabled,
  pg_catalog.pg_get_triggerdef(t.oid) as definition
from pg_catalog.pg_trigger t
join pg_catalog.pg_class c on c.oid = t.tgrelid
where c.relnamespace = 'public'::regnamespace and t.tgname like 'nexus\_%' and not t.tgisinternal;

-- Whether all that follow the shops are there and fire. Without them stock_watch and the rollups do not,
-- and nothing reads them.
create or replace function nexus_engine.attached() returns boolean
language sql stable parallel safe
as $$
  select nexus_engine.has_triggers(array['public.productos', 'public.ventas', 'public.detalles_venta']::regclass[])
$$;

-- The same of these tables alone.
create or replace function nexus_engine.has_triggers(p_relations regclass[]) returns boolean
language sql stable parallel safe
as $$
  select not exists (
    select from nexus_engine.wanted_triggers() w
    where w.relation = any (p_relations) and not exists (
      select from nexus_engine.own_trigger o where o.relation = w.relation and o.name = w.name and o.is_enabled))
$$;

-- Whether there are triggers of an earlier release: one that is not wanted any more, or that has
-- another function, a condition where it should have none or none where it should, another literal, or
-- other columns.
create or replace function nexus_engine.has_old_triggers() returns boolean
language sql stable
as $$
  select exists (
    select from nexus_engine.own_trigger o
    left join nexus_engine.wanted_triggers() w on w.name = o.name and w.relation = o.relation
    where o.is_enabled and (w.name is null or ('nexus_engine.' || w.function)::regproc <> o.function
      or (w.condition is not null) <> o.has_condition
      or w.condition like '%$L%' and strpos(o.definition, quote_literal(nexus_engine.seen_up_to() + 0.001)) = 0
      or strpos(lower(o.definition), substring(w.event from 'update of .*')) = 0))
$$;

-- Makes the triggers of one table, or makes them anew, under a lock that waits for its writers. Needs the right
-- TRIGGER on the table, which none of our roles has.
create or replace function nexus_engine.make_triggers(p_relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  it text;
begin
  for it in select t.statement from nexus_engine.trigger_statements(array[p_relation]) t loop
    execute it;
  end loop;
end;
$$;

-- What makes the triggers of these tables.
create or replace function nexus_engine.trigger_statements(p_relations regclass[])
returns table (relation regclass, statement text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select w.relation, format('create or replace trigger %I after %s on %s for each %s %s execute function nexus_engine.%I()',
    w.name, w.event, w.relation, w.level, 'when (' || format(w.condition, nexus_engine.seen_up_to() + 0.001) || ')', w.function)
  from nexus_engine.wanted_triggers() w
  where w.relation = any (p_relations)
$$;

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
begin
  -- One at a time. A detach() that is under way is waited for, and one that comes now waits for us.
  lock table nexus_engine.detached in share row exclusive mode;
  perform nexus_engine.check_pos_tables();
  perform nexus_engine.grant_pos_tables();
  if exists (select from nexus_engine.detached) or exists (select from nexus_engine.missing_objects()) then
    -- Before the views: a roll-up that runs reads them.
    perform pg_advisory_xact_lock(nexus_engine.rollups_lock());
    perform nexus_engine.apply_texts();
  end if;
  delete from nexus_engine.detached;
  perform nexus_engine.attach_triggers();
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

-- Whether there are any: asked with the rights of nexus_owner, and not of whoever attaches. Rows that are hidden from
-- it are taken to be there: who attaches has the triggers, and the job that looks at the rows waits until it sees them.
create or replace function nexus_engine.pos_has_rows(out productos boolean, out insights boolean)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = off
as $$
begin
  productos := true; insights := true;
  if not exists (select from nexus_engine.hidden_tables()) then
    select exists (select from public.productos), exists (select from public.insights) into productos, insights;
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
  it text;
begin
  foreach it in array array(
    select min(t.statement) from nexus_engine.trigger_statements(tables) t
    group by t.relation order by array_position(tables, t.relation))
  loop
    perform nexus_engine.wait_until(ends_at);
    execute it;
  end loop;
  perform nexus_engine.disable_unwanted_triggers(), nexus_engine.make_triggers(t) from unnest(tables) t;
end;
$$;

-- Disables triggers of ours that an earlier release made and this one does not want. They are left for
-- detach() to drop: to drop a trigger is to wait for everybody who reads its table, such as a backup.
create or replace function nexus_engine.disable_unwanted_triggers() returns void
language plpgsql
as $$
declare
  old record;
begin
  for old in
    select o.* from nexus_engine.own_trigger o
    where o.is_enabled and not exists (
      select from nexus_engine.wanted_triggers() w where w.name = o.name and w.relation = o.relation)
  loop
    execute format('alter table %s disable trigger %I', old.relation, old.name);
  end loop;
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
