-- Our triggers on the POS's tables: which they are, putting them on, taking them off.

-- Our triggers. Row-level, because a transition table costs a statement half as much again. As few as can
-- be, and with a condition only where it spares the calls of a checkout: Postgres copies what it knows of
-- a table's triggers, conditions and all, for every statement that writes it, and reads and folds
-- the condition of one that could fire. %1$L stands for the highest threshold in use. Those of ventas and
-- detalles_venta have the names that they had in the release before, so that the rollups outlast a deploy.
create or replace function nexus_engine.wanted_triggers()
returns table (name name, relation regclass, event text, level text, condition text, function text)
language sql stable parallel safe
as $$
  values
    ('nexus_stock_update'::name, 'public.productos'::regclass, 'update of stock_actual, is_active', 'row',
      'least(old.stock_actual, new.stock_actual) <= double precision %1$L', 'on_stock_change'),
    ('nexus_product_change', 'public.productos'::regclass, 'insert or delete or update of nombre, sku, tipo, tienda_id',
      'row', null, 'on_product_change'),
    ('nexus_product_truncate', 'public.productos'::regclass, 'truncate', 'statement', null, 'on_products_truncate'),
    ('nexus_sale_insert', 'public.ventas'::regclass, 'insert', 'row', 'new.fecha < current_timestamp', 'on_sale_change'),
    ('nexus_sale_update', 'public.ventas'::regclass, 'update or delete', 'row', null, 'on_sale_change'),
    ('nexus_sale_truncate', 'public.ventas'::regclass, 'truncate', 'statement', null, 'on_sales_truncate'),
    ('nexus_line_update', 'public.detalles_venta'::regclass, 'update or delete', 'row', null, 'on_line_change'),
    ('nexus_line_truncate', 'public.detalles_venta'::regclass, 'truncate', 'statement', null, 'on_sales_truncate'),
    ('nexus_insight_change', 'public.insights'::regclass, 'insert or update of id, tienda_id, extra_data', 'row',
      'current_user <> ''nexus_worker'' and new.extra_data ->> ''producto_id'' is not null', 'on_insight_change')
$$;

-- Every trigger of ours that there is on the POS's tables.
create or replace view nexus_engine.own_trigger as
select t.tgname as name, t.tgrelid::regclass as relation,
  t.tgfoid::regproc as function, t.tgqual is not null as has_condition, t.tgenabled = 'O' as is_enabled
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
-- another function, or a condition where it should have none, or none where it should.
create or replace function nexus_engine.has_old_triggers() returns boolean
language sql stable
as $$
  select exists (
    select from nexus_engine.own_trigger o
    left join nexus_engine.wanted_triggers() w on w.name = o.name and w.relation = o.relation
    where o.is_enabled and (w.name is null or ('nexus_engine.' || w.function)::regproc <> o.function
      or (w.condition is not null) <> o.has_condition))
$$;

-- Makes the triggers of one table, or makes them anew, under a lock that waits for its writers. With the rights
-- of whoever calls it: attach() of an owner of the table, fit_triggers of nexus_owner.
create or replace function nexus_engine.make_triggers(p_relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  ceiling double precision := (select c.ceiling from nexus_engine.stock_ceiling c);
  it record;
begin
  for it in
    select w.* from nexus_engine.wanted_triggers() w where w.relation = p_relation
  loop
    execute format('create or replace trigger %I after %s on %s for each %s %s execute function nexus_engine.%I(%s)',
      it.name, it.event, it.relation, it.level, 'when (' || format(it.condition, ceiling) || ')', it.function,
      case when it.function = 'on_product_change' then quote_literal(ceiling) end);
  end loop;
end;
$$;

-- Puts our triggers on the POS's tables, whose locks it holds for as long as that takes: what happened
-- without them is found afterwards, by the job check_stock, and until then by passes that look at
-- every product. The rollups are made anew by the next roll_up, and not read until then. Replaces the
-- triggers of an earlier release, without either; does nothing where they are those of this one. Our
-- indexes come back with the next start. Call it as an owner of the POS's tables.
-- Errors: 55P03 when the POS keeps its tables locked for long.
create or replace function nexus_engine.attach() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  was_attached boolean := nexus_engine.attached();
  sales_were boolean := nexus_engine.has_triggers(array['public.ventas', 'public.detalles_venta']::regclass[]);
  insights_were boolean := nexus_engine.has_triggers(array['public.insights']::regclass[]);
  relied_on double precision := (select c.ceiling from nexus_engine.stock_ceiling c);
begin
  delete from nexus_engine.detached;
  -- For fit_triggers, until detach().
  if not has_table_privilege('nexus_owner', 'public.productos', 'trigger') then
    grant trigger on public.productos to nexus_owner;
  end if;
  -- Before the POS's tables are locked: a pass may hold rows of it for seconds. None is added meanwhile.
  if not was_attached then
    delete from nexus_engine.stock_told;
  end if;
  if not was_attached or not insights_were or nexus_engine.has_old_triggers() then
    -- Before the tables: a roll-up that runs reads them.
    perform pg_advisory_xact_lock(nexus_engine.rollups_lock());
    perform nexus_engine.lock_pos_tables('share row exclusive');
    perform nexus_engine.disable_unwanted_triggers();
    perform nexus_engine.fit_triggers();
    perform nexus_engine.make_triggers('public.ventas');
    perform nexus_engine.make_triggers('public.detalles_venta');
    perform nexus_engine.make_triggers('public.insights');
  end if;
  if not sales_were then
    perform nexus_engine.forget_rollups();
  end if;
  if not insights_were then
    delete from nexus_engine.product_insight_known;
    if exists (select from public.insights) then
      perform graphile_worker.add_job('check_stock', job_key => 'check_stock:ceiling', max_attempts => 10);
    else
      insert into nexus_engine.product_insight_known default values;
    end if;
  end if;
  if was_attached and relied_on >= nexus_engine.wanted_ceiling() then
    return;
  end if;
  if exists (select from public.productos) then
    update nexus_engine.stock_ceiling set ceiling = -1;
    perform graphile_worker.add_job('check_stock', job_key => 'check_stock:ceiling', max_attempts => 10);
  end if;
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

-- The first step of check_stock: where the triggers' ceiling is not the wanted one, or not relied upon,
-- makes them anew, and lets nobody rely on stock_watch until the last step. Returns their ceiling,
-- null while detached.
create or replace function nexus_engine.renew_triggers() returns double precision
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  wanted double precision := nexus_engine.wanted_ceiling();
begin
  if not nexus_engine.attached() then
    return null;
  end if;
  if wanted <> (select c.ceiling from nexus_engine.stock_ceiling c) then
    perform nexus_engine.fit_triggers();
    update nexus_engine.stock_ceiling set ceiling = -1;
  end if;
  return wanted;
end;
$$;

-- The last step: since the triggers were made with this ceiling every product has been looked at. The
-- lower of two, where another check made them anew meanwhile.
create or replace function nexus_engine.rely_on_triggers(p_ceiling double precision) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  update nexus_engine.stock_ceiling c
  set ceiling = case when c.ceiling < 0 then p_ceiling else least(c.ceiling, p_ceiling) end
  where nexus_engine.attached()
$$;

-- Removes every trigger and index of ours from the POS's tables, and remembers that an operator
-- wants it so: a start does not put them back, only attach() does. Insights go on by full passes.
-- Call it as an owner of the POS's tables.
-- Errors: 55P03 when the POS keeps its tables locked for long.
create or replace function nexus_engine.detach() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  ours record;
begin
  perform pg_advisory_xact_lock(nexus_engine.rollups_lock());
  perform nexus_engine.lock_pos_tables('access exclusive');
  for ours in select o.* from nexus_engine.own_trigger o loop
    execute format('drop trigger %I on %s', ours.name, ours.relation);
  end loop;
  for ours in
    select i.indexrelid::regclass as index from pg_catalog.pg_index i
    join pg_catalog.pg_class c on c.oid = i.indexrelid
    where c.relnamespace = 'public'::regnamespace and c.relname like 'nexus\_%'
  loop
    execute format('drop index %s', ours.index);
  end loop;
  revoke trigger on public.productos from nexus_owner;
  perform nexus_engine.forget_rollups();
  insert into nexus_engine.detached (since) values (now()) on conflict do nothing;
end;
$$;

-- Locks the tables that have triggers of ours, all or none, waiting less than deadlock_timeout
-- at a time (by default a second), so that a sale that holds one and wants another waits a moment
-- and is never the one that Postgres ends. Gives up after lock_timeout, 20 seconds without one.
-- The order is that of a checkout, which reads products, inserts a ticket and its lines, then updates
-- products: whoever is past the first table gets through.
create or replace function nexus_engine.lock_pos_tables(p_mode text) returns void
language plpgsql
as $$
declare
  usual text := current_setting('lock_timeout');
  patience interval := coalesce(nullif(usual::interval, interval '0'), interval '20 seconds');
  began timestamptz := clock_timestamp();
begin
  loop
    begin
      perform set_config('lock_timeout', '400ms', true);
      execute format('lock table %s in %s mode',
        case p_mode when 'access exclusive' then 'public.productos, public.ventas, public.detalles_venta, public.insights'
          else 'public.ventas, public.detalles_venta, public.productos, public.insights' end, p_mode);
      perform set_config('lock_timeout', usual, true);
      return;
    exception when lock_not_available then
      if clock_timestamp() - began >= patience then
        raise;
      end if;
    end;
    perform pg_sleep(0.05 + random() * 0.1);
  end loop;
end;
$$;

-- From now on no rollup is read, until it is made anew. Call it under rollups_lock, for which roll-ups
-- that began with other triggers were waited for.
create or replace function nexus_engine.forget_rollups() returns void
language sql
as $$
  delete from nexus_engine.rollup_state;
  delete from nexus_engine.sale_mark;
$$;
