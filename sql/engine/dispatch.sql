-- Enqueues the batches of one scheduled task: jobs of refresh_stores for the stores that are due,
-- at most p_batch each, in the caller's transaction. Stores are always due for types of kind
-- `state`; for types of kind `period` when due_periods says so, which is computed from state: a
-- tick that comes late or twice finds what is left to do, or nothing.
--   p_task: name of the task, part of the job keys.
--   p_tipos: the types, null for all.
--   returns how many jobs were enqueued, for how many stores.
-- A batch that still waits from an earlier tick is replaced, so a backlog cannot pile up.
create or replace function nexus_engine.dispatch(
  p_task text, p_tipos text[], p_as_of timestamptz, p_batch int,
  out jobs int, out stores int
) language plpgsql
as $$
declare
  active uuid[] := array(select t.id from public.tiendas t where t.is_active order by t.id);
  kinds record;
  due uuid[];
  added int;
begin
  jobs := 0; stores := 0;
  for kinds in
    select it.kind, array_agg(it.tipo order by it.tipo) as tipos
    from nexus_engine.insight_type it
    where it.enabled and (p_tipos is null or it.tipo = any (p_tipos))
    group by it.kind order by it.kind desc
  loop
    if kinds.kind = 'state' then
      due := active;
    else
      -- Empty periods are looked at again only by the tasks that refresh everything.
      due := array(
        select distinct d.tienda_id
        from unnest(kinds.tipos) tipo
        cross join lateral nexus_engine.due_periods(tipo, active, p_as_of, p_tipos is null) d
        order by 1);
    end if;
    if cardinality(due) = 0 then
      continue;
    end if;

    perform graphile_worker.add_jobs(array_agg(row(
      'refresh_stores',
      json_build_object('tiendas', b.tiendas, 'tipos', kinds.tipos),
      null, null, 5, p_task || ':' || kinds.kind || ':' || b.batch, 0, null
    )::graphile_worker.job_spec), true)
    from (
      select (n - 1) / p_batch as batch, array_agg(id order by n) as tiendas
      from unnest(due) with ordinality u (id, n) group by 1
    ) b;

    added := (cardinality(due) + p_batch - 1) / p_batch;
    jobs := jobs + added;
    stores := stores + cardinality(due);
  end loop;
end;
$$;
