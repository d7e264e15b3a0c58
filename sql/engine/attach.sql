-- Our triggers on the POS's tables: which they are, putting them on, taking them off.

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

-- Makes the triggers of one table, or makes them anew, under a lock that waits for its writers. By an owner
-- of the POS's tables, as attach() and detach(): nobody else has a right to.
create or replace function nexus_engine.make_triggers(p_relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  it record;
begin
  for it in
    select w.* from nexus_engine.wanted_triggers() w where w.relation = p_relation
  loop
    execute format('create or replace trigger %I after %s on %s for each %s %s execute function nexus_engine.%I()',
      it.name, it.event, it.relation, it.level, 'when (' || format(it.condition, nexus_engine.seen_up_to() + 0.001) || ')', it.function);
  end loop;
end;
$$;

-- Puts our triggers on the POS's tables, whose locks it holds for as long as that takes: what happened
-- without them is found afterwards, by the job check_stock, and until then by passes that look at
-- every product. Where the triggers on sales were missing, the rollups are made anew by the next roll_up, and
-- not read until then. Replaces the triggers of an earlier release; does nothing where they are those of this
-- one. Our indexes come back with the next start. Call it as an owner of the POS's tables.
-- Errors: 55P03 when the POS keeps its tables locked for long.
create or replace function nexus_engine.attach() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  was_attached boolean := nexus_engine.attached() and not nexus_engine.has_old_triggers();
  sales_were boolean := nexus_engine.has_triggers(array['public.ventas', 'public.detalles_venta']::regclass[]);
  insights_were boolean := nexus_engine.has_triggers(array['public.insights']::regclass[]);
begin
  delete from nexus_engine.detached;
  -- Before the POS's tables are locked: a pass may hold rows of it for seconds. None is added meanwhile.
  if not was_attached then
    delete from nexus_engine.stock_told;
  end if;
  if not was_attached or not insights_were then
    -- Before the tables: a roll-up that runs reads them.
    perform pg_advisory_xact_lock(nexus_engine.rollups_lock());
    perform nexus_engine.lock_pos_tables('share row exclusive');
    perform nexus_engine.disable_unwanted_triggers();
    perform nexus_engine.make_triggers(t)
    from unnest(array['public.productos', 'public.ventas', 'public.detalles_venta', 'public.insights']::regclass[]) t;
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
  if was_attached and nexus_engine.triggers_are_followed() then
    return;
  end if;
  insert into nexus_engine.stock_ceiling (ceiling) values (-1) on conflict (only_one) do update set ceiling = -1;
  if exists (select from public.productos) then
    perform graphile_worker.add_job('check_stock', job_key => 'check_stock:ceiling', max_attempts => 10);
  else
    perform nexus_engine.follow_triggers();
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

-- The last step of check_stock, which has looked at every product since the triggers were made.
create or replace function nexus_engine.follow_triggers() returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  update nexus_engine.stock_ceiling c set ceiling = nexus_engine.seen_up_to() where nexus_engine.attached()
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
  -- Before all locks: a start that is about to attach has locked this first, and waits for the others.
  insert into nexus_engine.detached (since) values (now()) on conflict do nothing;
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
  perform nexus_engine.forget_rollups();
end;
$$;

-- Locks the tables that have triggers of ours, all or none. Whoever writes them waits behind us
-- while we wait, so that is 25 ms at a time, with growing pauses: a sale hardly notices, and none is ever
-- the one that Postgres ends for a deadlock. Gives up after lock_timeout, a minute without one.
create or replace function nexus_engine.lock_pos_tables(p_mode text) returns void
language plpgsql
as $$
declare
  usual text := current_setting('lock_timeout');
  patience interval := coalesce(nullif(usual::interval, interval '0'), interval '1 minute');
  gives_up_at timestamptz := clock_timestamp() + patience;
  pause double precision := 0.1;
begin
  loop
    begin
      perform nexus_engine.lock_pos_tables_within(p_mode, interval '25 ms');
      perform set_config('lock_timeout', usual, true);
      return;
    exception when lock_not_available then
      if clock_timestamp() + pause * interval '1 second' >= gives_up_at then
        raise;
      end if;
    end;
    perform pg_sleep(pause * (0.75 + random() / 2));
    pause := least(pause * 2, 5);
  end loop;
end;
$$;

-- Locks them within this time in all, from the first wait to the last lock.
-- The order is that of a checkout, which reads products, inserts a ticket and its lines, then updates
-- products: whoever is past the first table gets through.
-- Errors: 55P03.
create or replace function nexus_engine.lock_pos_tables_within(p_mode text, p_time interval) returns void
language plpgsql
as $$
declare
  ends_at timestamptz := clock_timestamp() + p_time;
  relation text;
begin
  foreach relation in array case p_mode
    when 'access exclusive' then array['productos', 'ventas', 'detalles_venta', 'insights']
    else array['ventas', 'detalles_venta', 'productos', 'insights'] end
  loop
    -- Zero would be no limit at all.
    perform set_config('lock_timeout',
      greatest(ceil(extract(epoch from ends_at - clock_timestamp()) * 1000), 1) || 'ms', true);
    execute format('lock table public.%I in %s mode', relation, p_mode);
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
