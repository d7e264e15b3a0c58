-- Enqueues the batches of one scheduled task: jobs of refresh_stores for the stores that are due,
-- in the caller's transaction. A batch is as much work as p_batch ordinary stores: a store weighs one
-- and a hundredth of its low products, so that a large one runs alone and delays no other; so does one of which every
-- summary is computed again, because its days are others now. Stores are due for a type
-- of kind `state` unless untold_stores says that all was told, for one of kind `period` when due_periods_v2
-- says so. Both are computed from state: a tick that comes late or twice finds what is left to do, or nothing.
--   p_task: name of the task, part of the job keys.
--   p_tipos: the types, null for all.
--   returns how many jobs were enqueued, for how many stores.
-- A type that cannot say whom it is due, such as for a row of before nexus_engine.check_params, stops no other: all stores
-- are due then, and refresh_stores writes down of each what is wrong (store_failure).
-- A batch that still waits from an earlier tick is replaced, so a backlog cannot pile up.
create or replace function nexus_engine.dispatch(
  p_task text, p_tipos text[], p_as_of timestamptz, p_batch int,
  out jobs int, out stores int
) language plpgsql
as $$
declare
  active uuid[] := array(select t.id from public.tiendas t where t.is_active order by t.id);
  kinds record;
  asked text;
  due uuid[];
  unsettled uuid[];
  specs graphile_worker.job_spec[];
begin
  jobs := 0; stores := 0;
  for kinds in
    select it.kind, array_agg(it.tipo order by it.tipo) as tipos
    from nexus_engine.insight_type it
    where it.enabled and (p_tipos is null or it.tipo = any (p_tipos))
    group by it.kind order by it.kind desc
  loop
    if kinds.kind = 'state' then
      unsettled := nexus_engine.unsettled_stores(active);
      due := array(
        select distinct d.tienda_id
        from unnest(kinds.tipos) tipo
        cross join lateral unnest(nexus_engine.untold_stores(tipo, active, unsettled)) d (tienda_id)
        order by 1);
    else
      due := '{}';
      foreach asked in array kinds.tipos loop
        begin
          due := due || array(select d.tienda_id from nexus_engine.due_periods_v2(asked, active, p_as_of) d);
        exception when data_exception then
          due := active;
        end;
      end loop;
      due := array(select distinct d from unnest(due) d order by 1);
    end if;
    if cardinality(due) = 0 then
      continue;
    end if;

    select array_agg(row(
      'refresh_stores',
      json_build_object('tiendas', b.tiendas, 'tipos', kinds.tipos),
      null, null, 5, p_task || ':' || kinds.kind || ':' || b.number, 0, null
    )::graphile_worker.job_spec)
    into specs from nexus_engine.batches(due, p_batch) b;
    perform graphile_worker.add_jobs(specs, true);
    jobs := jobs + cardinality(specs);
    stores := stores + cardinality(due);
  end loop;
end;
$$;

-- These stores in batches, in their order, see dispatch. A batch ends where the next store would make
-- it heavier than p_batch; none has more than the 1,000 stores that refresh_stores takes.
create or replace function nexus_engine.batches(p_tiendas uuid[], p_batch int)
returns table (number int, tiendas uuid[]) language plpgsql
as $$
declare
  load numeric := 0;
  store record;
begin
  number := 0;
  tiendas := '{}';
  for store in
    select u.id, 1 + coalesce(w.low, 0) / 100.0
      + case when u.id in (select c.tienda_id from nexus_engine.sales_changed c where c.every_period) then p_batch else 0 end as weight
    from unnest(p_tiendas) with ordinality u (id, n)
    left join (
      select k.tienda_id, count(*) as low from nexus_engine.stock_watch k group by k.tienda_id
    ) w on w.tienda_id = u.id
    order by u.n
  loop
    if cardinality(tiendas) > 0 and (load + store.weight > p_batch or cardinality(tiendas) = 1000) then
      return next;
      number := number + 1;
      tiendas := '{}';
      load := 0;
    end if;
    tiendas := tiendas || store.id;
    load := load + store.weight;
  end loop;
  if cardinality(tiendas) > 0 then
    return next;
  end if;
end;
$$;
