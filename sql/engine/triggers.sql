-- Our triggers on the POS's tables: which they are, which are there and what makes them.

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

-- Every trigger of ours that there is on the POS's tables. Whose function is not ours is somebody else's,
-- whatever its name.
create or replace view nexus_engine.own_trigger as
select t.tgname as name, t.tgrelid::regclass as relation,
  t.tgfoid::regproc as function, t.tgqual is not null as has_condition, t.tgenabled = 'O' as is_enabled,
  pg_catalog.pg_get_triggerdef(t.oid) as definition
from pg_catalog.pg_trigger t
join pg_catalog.pg_class c on c.oid = t.tgrelid
join pg_catalog.pg_proc f on f.oid = t.tgfoid and f.pronamespace = 'nexus_engine'::regnamespace
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
