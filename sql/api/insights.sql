-- The caller's insights as the POS keeps them, behind a barrier: no condition of a request is tried on the
-- rows of another store.
create or replace view nexus_engine.own_insight with (security_barrier) as
select i.id, i.tipo::text as tipo, i.mensaje::text as mensaje, i.nivel_urgencia::text as nivel_urgencia, i.is_active, i.extra_data, i.created_at
from public.insights i
where i.tienda_id = (select nexus_engine.current_tienda_id());

grant execute on function nexus_engine.producto_of(jsonb) to nexus_tienda;

-- No barrier here, so that what is shown is computed after the order and the limit of a request.
create or replace view nexus_api.insights with (security_barrier = false) as
select
  i.id,
  i.tipo,
  i.mensaje,
  i.nivel_urgencia,
  i.is_active,
  i.extra_data,
  nexus_engine.usable_instant(i.created_at) as created_at,
  nexus_engine.producto_of(i.extra_data) as producto_id,
  nexus_engine.urgencia_rank(i.nivel_urgencia) as urgencia_rank
from nexus_engine.own_insight i;
grant select on nexus_api.insights to nexus_tienda;

-- Ids among which are those of all insights of a product of the store, and maybe more: src/graphql/relations.ts
-- looks for them there.
create or replace function nexus_api.insights_of_producto(producto_id uuid)
returns uuid[] language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select coalesce((select case when nexus_engine.product_insights_known() then array(
    select o.insight_id from nexus_engine.open_insight o
    where o.tienda_id = p.tienda_id and o.subject = p.id::text and o.insight_id is not null
      and o.tipo = any (array(select t.tipo from nexus_engine.insight_type t where t.kind = 'state'))
    union all
    select k.insight_id from nexus_engine.product_insight k where k.producto_id = p.id
  ) else array(
    select i.id from public.insights i
    where i.tienda_id = p.tienda_id and nexus_engine.producto_of(i.extra_data) = p.id
  ) end
  from public.productos p
  where p.id = insights_of_producto.producto_id and p.tienda_id = (select nexus_engine.current_tienda_id())), '{}')
$$;
comment on function nexus_api.insights_of_producto(uuid) is E'@behavior -*';
grant execute on function nexus_api.insights_of_producto(uuid) to nexus_tienda;

comment on view nexus_api.insights is E'@name insight\n@primaryKey id\n@foreignKey (producto_id) references nexus_api.productos (id)|@fieldName producto|@foreignFieldName insights\nSomething the store owner should know or do.';
comment on column nexus_api.insights.id is E'@notNull';
comment on column nexus_api.insights.tipo is E'@notNull\n@behavior +filterBy\n`STOCK_BAJO`, `PRODUCTO_SIN_STOCK`, `VENTAS_DIARIAS`, `VENTAS_SEMANALES`, or a type that was added later.';
comment on column nexus_api.insights.mensaje is E'@notNull\nWhat to show to the store owner, in Spanish.';
comment on column nexus_api.insights.nivel_urgencia is E'@notNull\n@behavior +filterBy\n`CRITICA`, `ALTA`, `MEDIA` or `BAJA`.';
comment on column nexus_api.insights.is_active is E'@notNull\n@behavior +filterBy\nFalse once dismissed, resolved or replaced by a newer one.';
comment on column nexus_api.insights.extra_data is 'The numbers of the message. Its keys depend on the type.';
comment on column nexus_api.insights.created_at is E'@behavior +orderBy +filterBy\nNull when the POS holds no usable date.';
comment on column nexus_api.insights.producto_id is E'@behavior -*';
comment on column nexus_api.insights.urgencia_rank is E'@notNull\n@behavior -*';

drop function if exists nexus_api.insight_stats();
drop type if exists nexus_api.insight_statistics;
drop type if exists nexus_api.insight_count;

create type nexus_api.insight_count as (key text, count int);
comment on type nexus_api.insight_count is 'How many insights share a type or an urgency.';
comment on column nexus_api.insight_count.key is E'@notNull\nThe type or the urgency.';
comment on column nexus_api.insight_count.count is E'@notNull';

create type nexus_api.insight_statistics as (
  total int,
  active int,
  archived int,
  by_tipo nexus_api.insight_count[],
  by_urgencia nexus_api.insight_count[]
);
comment on type nexus_api.insight_statistics is E'@name insight_stats\nHow many insights the store has.';
comment on column nexus_api.insight_statistics.total is E'@notNull';
comment on column nexus_api.insight_statistics.active is E'@notNull';
comment on column nexus_api.insight_statistics.archived is E'@notNull\nDismissed, resolved or replaced.';
comment on column nexus_api.insight_statistics.by_tipo is E'@notNull\nActive and archived ones by type, the most frequent first.';
comment on column nexus_api.insight_statistics.by_urgencia is E'@notNull\nActive and archived ones by urgency, the most urgent first.';

-- Counts of the caller's insights. Errors: NX003 without a store.
create function nexus_api.insight_stats()
returns nexus_api.insight_statistics language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  with insight as materialized (
    select i.tipo, i.nivel_urgencia as urgencia, count(*) as n, count(*) filter (where i.is_active) as active
    from public.insights i
    where i.tienda_id = (select nexus_engine.require_tienda_id())
    group by i.tipo, i.nivel_urgencia
  )
  select
    coalesce(sum(n), 0)::int,
    coalesce(sum(active), 0)::int,
    coalesce(sum(n - active), 0)::int,
    array(select row(tipo, sum(n))::nexus_api.insight_count
          from insight group by tipo order by sum(n) desc, tipo),
    array(select row(urgencia, sum(n))::nexus_api.insight_count
          from insight group by urgencia order by nexus_engine.urgencia_rank(urgencia), urgencia)
  from insight
$$;
comment on function nexus_api.insight_stats() is E'@notNull\nHow many insights the store has, by state, type and urgency.';
grant execute on function nexus_api.insight_stats() to nexus_tienda;

-- Archives an insight as the POS does. Doing it twice is the same as once.
-- Errors: NX002 when the store has no such insight; NX003 without a store.
create or replace function nexus_api.dismiss_insight(id uuid)
returns nexus_api.insights language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms'
as $$
declare
  store uuid := nexus_engine.require_tienda_id();
  dismissed nexus_api.insights;
begin
  update public.insights i set is_active = false
  where i.id = dismiss_insight.id and i.tienda_id = store and i.is_active;
  if found then
    perform nexus_engine.announce(array[row(store, dismiss_insight.id, 'resolved')::nexus_engine.announcement]);
  end if;
  select * into dismissed from nexus_api.insights i where i.id = dismiss_insight.id;
  if not found then
    raise exception 'id: expected an insight of this store, got %', quote_nullable(dismiss_insight.id)
      using errcode = 'NX002', column = 'id';
  end if;
  return dismissed;
end;
$$;
comment on function nexus_api.dismiss_insight(uuid) is E'@resultFieldName insight\nArchives an insight: it stays away until its cause goes away and comes back, or becomes more urgent.';
grant execute on function nexus_api.dismiss_insight(uuid) to nexus_tienda;

-- Deletes insights of the store and returns how many. An active alert that is deleted counts as
-- dismissed: it does not come back while nothing gets worse.
--   only_archived: false deletes the active ones as well; null is taken as true.
-- Errors: NX003 without a store.
create or replace function nexus_api.clear_insights(only_archived boolean default true)
returns int language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms'
as $$
declare
  cleared int;
  announced nexus_engine.announcement[];
begin
  -- The reconciler writes active ones as well, in another order: each would wait for the other.
  if not coalesce(only_archived, true) then
    perform nexus_engine.lock_stores(array[nexus_engine.require_tienda_id()]);
  end if;
  with deleted as (
    delete from public.insights i
    where i.tienda_id = nexus_engine.require_tienda_id()
      and not (i.is_active and coalesce(clear_insights.only_archived, true))
    returning i.id, i.tienda_id, i.is_active
  )
  select count(*), array_agg(row(d.tienda_id, d.id, 'resolved')::nexus_engine.announcement) filter (where d.is_active)
  into cleared, announced from deleted d;
  if announced is not null then
    perform nexus_engine.announce(announced);
  end if;
  return cleared;
end;
$$;
comment on function nexus_api.clear_insights(boolean) is E'@resultFieldName deleted\nDeletes the archived insights of the store for good; with `onlyArchived: false` all of them.';
grant execute on function nexus_api.clear_insights(boolean) to nexus_tienda;
