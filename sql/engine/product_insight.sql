-- Which insights are of a product. The POS keeps that in extra_data and has no index on it, and Alembic would
-- drop one of ours. What the reconciler has open is found by its subject; a table of ours has the rest:
-- what it has left behind, and what others wrote. So an alert costs nothing more to write.

-- The product that an insight names, whatever another program wrote: only what looks like an id is read as
-- one. Its cost, and a language that is not inlined, let Postgres call it for the rows that are shown, and
-- not for each that is sorted.
create or replace function nexus_engine.producto_of(extra_data jsonb)
returns uuid language plpgsql immutable parallel safe cost 100 set search_path = pg_catalog, pg_temp
as $$
begin
  return case when length(extra_data ->> 'producto_id') = 36 and extra_data ->> 'producto_id' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
    then (extra_data ->> 'producto_id')::uuid end;
end;
$$;

-- After an insight was written or deleted by another than the engine (the trigger's condition): its product is noted,
-- and for the drain what became of it (see insight_mark). The mutations of the API, which run as nexus_owner, say
-- themselves what they mean. Cannot fail the write: what goes wrong is a warning.
create or replace function nexus_engine.on_insight_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  becomes text;
begin
  if tg_op <> 'DELETE' then
    insert into nexus_engine.product_insight (producto_id, insight_id)
    select p.producto_id, new.id from (select nexus_engine.producto_of(new.extra_data) as producto_id) p
    where p.producto_id is not null
    on conflict do nothing;
  end if;
  becomes := case
    when tg_op = 'DELETE' then case when old.is_active then 'deleted' end
    when new.is_active then 'active'
    when old.is_active then 'archived' end;
  -- A reconciler that a script calls is none of the others.
  if becomes is null or current_setting('nexus.reconciles', true) = 'on' then
    return null;
  end if;
  insert into nexus_engine.insight_mark (tienda_id, insight_id, what)
  values (coalesce(new.tienda_id, old.tienda_id), coalesce(new.id, old.id), becomes);
  perform nexus_engine.ring_drains();
  return null;
exception when others then
  raise warning 'nexus: a change of an insight was not noted: %', sqlerrm;
  return null;
end;
$$;

-- After open_insight let go of an insight: closed, or another one stands for the finding now.
create or replace function nexus_engine.on_insight_left() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if old.subject ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
    insert into nexus_engine.product_insight (producto_id, insight_id) values (old.subject::uuid, old.insight_id)
    on conflict do nothing;
  end if;
  return null;
end;
$$;
create or replace trigger note_closed
after delete on nexus_engine.open_insight
for each row when (old.insight_id is not null) execute function nexus_engine.on_insight_left();
create or replace trigger note_replaced
after update of insight_id on nexus_engine.open_insight
for each row when (old.insight_id is not null and old.insight_id is distinct from new.insight_id)
execute function nexus_engine.on_insight_left();

-- Whether no insight of any product is missing: all have been looked at since the trigger is there.
create or replace function nexus_engine.product_insights_known() returns boolean
language sql stable parallel safe
as $$
  select exists (select from nexus_engine.product_insight_known) and exists (
    select from pg_catalog.pg_trigger t
    where t.tgrelid = 'public.insights'::regclass and t.tgname = 'nexus_insight_change' and t.tgenabled = 'O')
$$;

-- Looks at every insight, and notes those of products that are missing; returns how many. While detached
-- nothing is known, and nothing noted.
create or replace function nexus_engine.note_product_insights() returns int
language plpgsql set row_security = off
as $$
declare
  noted int;
begin
  if not nexus_engine.has_triggers(array['public.insights']::regclass[]) then
    delete from nexus_engine.product_insight_known;
    return 0;
  end if;
  with named as materialized (
    select i.id, i.tienda_id, nexus_engine.producto_of(i.extra_data) as producto_id
    from public.insights i where i.extra_data ->> 'producto_id' is not null
  )
  insert into nexus_engine.product_insight (producto_id, insight_id)
  select n.producto_id, n.id from named n
  where n.producto_id is not null and not exists (
    select from nexus_engine.open_insight o
    where o.insight_id = n.id and o.tienda_id = n.tienda_id and o.subject = n.producto_id::text)
  on conflict do nothing;
  get diagnostics noted = row_count;
  insert into nexus_engine.product_insight_known default values on conflict do nothing;
  -- For the drain, see sql/engine/adopt.sql.
  perform nexus_engine.mark_foreign_insights(array(select t.id from public.tiendas t where t.is_active));
  return noted;
end;
$$;
