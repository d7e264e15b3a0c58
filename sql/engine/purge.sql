-- Deletes what nobody needs any more, at most p_limit rows of each kind, so that one call stays
-- short; the task calls it until it returns zero.
--   Archived insights of our types older than p_retention, and the memory of their periods (kept at
--   least as long as a missed period may still be announced); ended refresh requests older than 30
--   days; resolved failures older than 90; what is noted of insights that are gone; everything of ours
--   about stores that are gone. A request that a day did not end has lost its job and is marked as failed.
create or replace function nexus_engine.purge(p_as_of timestamptz, p_retention interval, p_limit int)
returns int language plpgsql
as $$
declare
  total int := 0;
  deleted int;
  rollup text;
  gone uuid[];
begin
  delete from public.insights where id in (
    select i.id from public.insights i
    join nexus_engine.insight_type it on it.tipo = i.tipo
    where not i.is_active and i.created_at < p_as_of - p_retention
    order by i.created_at limit p_limit for update of i skip locked);
  get diagnostics deleted = row_count;
  total := total + deleted;

  delete from nexus_engine.open_insight o where (o.tienda_id, o.tipo, o.subject) in (
    select c.tienda_id, c.tipo, c.subject from nexus_engine.open_insight c
    join nexus_engine.insight_type it on it.tipo = c.tipo and it.kind = 'period'
    where c.since < p_as_of - greatest(p_retention, interval '60 days')
      and not exists (select from public.insights i where i.id = c.insight_id)
      -- The newest stays: it says that the store is being served.
      and exists (select from nexus_engine.open_insight newer
                  where newer.tienda_id = c.tienda_id and newer.tipo = c.tipo and newer.subject > c.subject)
    limit p_limit);
  get diagnostics deleted = row_count;
  total := total + deleted;

  update nexus_engine.refresh_request r
  set status = 'failed', error_code = 'LOST', error_message = 'No se pudo actualizar. Volvé a intentarlo.',
    finished_at = p_as_of
  where r.status in ('queued', 'running') and r.queued_at < p_as_of - interval '1 day';

  delete from nexus_engine.refresh_request r where r.id in (
    select c.id from nexus_engine.refresh_request c
    where c.status in ('succeeded', 'failed') and c.finished_at < p_as_of - interval '30 days' limit p_limit);
  get diagnostics deleted = row_count;
  total := total + deleted;

  delete from nexus_engine.store_failure f
  where f.resolved_at < p_as_of - interval '90 days'
    or not exists (select from public.tiendas t where t.id = f.tienda_id);
  get diagnostics deleted = row_count;
  total := total + deleted;

  delete from nexus_engine.open_insight o where (o.tienda_id, o.tipo, o.subject) in (
    select c.tienda_id, c.tipo, c.subject from nexus_engine.open_insight c
    where not exists (select from public.tiendas t where t.id = c.tienda_id) limit p_limit);
  get diagnostics deleted = row_count;
  total := total + deleted;

  delete from nexus_engine.product_insight k where (k.producto_id, k.insight_id) in (
    select c.producto_id, c.insight_id from nexus_engine.product_insight c
    where not exists (select from public.insights i where i.id = c.insight_id) limit p_limit);
  get diagnostics deleted = row_count;
  total := total + deleted;

  delete from nexus_engine.stock_watch w where (w.tienda_id, w.producto_id) in (
    select c.tienda_id, c.producto_id from nexus_engine.stock_watch c
    where not exists (select from public.tiendas t where t.id = c.tienda_id) limit p_limit);
  get diagnostics deleted = row_count;
  total := total + deleted;

  delete from nexus_engine.stock_out o where o.id in (
    select c.id from nexus_engine.stock_out c
    where c.back_at < p_as_of - interval '2 years'
      or not exists (select from public.tiendas t where t.id = c.tienda_id) limit p_limit);
  get diagnostics deleted = row_count;
  total := total + deleted;

  -- Notes about stores that nobody computes: closed, or all their types muted.
  delete from nexus_engine.sales_changed c where c.at < p_as_of - interval '8 days';
  delete from nexus_engine.stock_told k where not exists (select from public.tiendas t where t.id = k.tienda_id);
  delete from nexus_engine.stock_recheck r where not exists (select from public.tiendas t where t.id = r.tienda_id);
  delete from nexus_engine.sale_mark m where not exists (select from public.tiendas t where t.id = m.tienda_id);
  gone := array(
    select r.tienda_id from nexus_engine.rollup_state r
    where not exists (select from public.tiendas t where t.id = r.tienda_id) limit 100);
  foreach rollup in array array['store_day', 'store_hour', 'method_day', 'product_day'] loop
    execute format($sql$
      delete from nexus_engine.%1$I where ctid = any (array(
        select r.ctid from nexus_engine.%1$I r where r.tienda_id = any ($1) limit $2))
    $sql$, rollup) using gone, p_limit;
    get diagnostics deleted = row_count;
    total := total + deleted;
  end loop;
  -- The state last: it is what the rest is found by.
  delete from nexus_engine.rollup_state r
  where r.tienda_id = any (gone)
    and not exists (select from nexus_engine.rollup d where d.tienda_id = r.tienda_id);
  get diagnostics deleted = row_count;
  total := total + deleted;

  delete from nexus_engine.mutation_allowance m where (m.kind, m.id) in (
    select c.kind, c.id from nexus_engine.mutation_allowance c where c.full_at < p_as_of - interval '1 minute' limit p_limit);
  get diagnostics deleted = row_count;
  total := total + deleted;

  delete from nexus_engine.product_settings s
  where not exists (select from public.tiendas t where t.id = s.tienda_id)
    or not exists (select from public.productos p where p.id = s.producto_id);
  get diagnostics deleted = row_count;
  total := total + deleted;

  delete from nexus_engine.store_settings s
  where not exists (select from public.tiendas t where t.id = s.tienda_id);
  get diagnostics deleted = row_count;
  return total + deleted;
end;
$$;
