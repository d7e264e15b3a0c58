-- Deletes what nobody needs any more, at most p_limit rows of each kind, so that one call stays
-- short; the task calls it until it returns zero.
--   Archived insights of our types older than p_retention, and the memory of their periods (kept at
--   least as long as a missed period may still be announced); ended refresh requests older than 30
--   days; resolved failures older than 90; what is noted of insights that are gone; what is kept about stores
--   and products that are proved to be gone, see nexus_engine.kept_by_store. A request that a day did not end has
--   lost its job and is marked as failed.
-- A kind of which another session keeps rows locked is left to the next call, so that those who wait for
-- what is deleted here do not wait for that session as well. So are the stores and products, when another session
-- is looking for those that are missing.
-- Warns when it deletes nothing about stores because they are too many, see nexus_engine.stores_to_give_up.
-- Errors: 42501 when a policy would hide rows of the POS's tables.
create or replace function nexus_engine.purge(p_as_of timestamptz, p_retention interval, p_limit int)
returns int language plpgsql set lock_timeout = '50ms' set row_security = off
as $$
declare
  total int := 0;
  deleted int;
  statement text;
  warning text;
begin
  begin
    perform nexus_engine.note_missing(p_as_of);
  exception when lock_not_available or deadlock_detected then
    null;
  end;
  warning := nexus_engine.missing_stores_warning();
  if warning is not null then
    raise warning 'nexus: %', warning;
  end if;

  foreach statement in array nexus_engine.purges() loop
    begin
      execute statement using p_as_of, p_retention, p_limit;
      get diagnostics deleted = row_count;
      total := total + deleted;
    exception when lock_not_available or deadlock_detected then
      null;
    end;
  end loop;

  update nexus_engine.refresh_request r
  set status = 'failed', error_code = 'LOST', error_message = 'No se pudo actualizar. Volvé a intentarlo.',
    finished_at = p_as_of
  where r.id in (
    select c.id from nexus_engine.refresh_request c
    where c.status in ('queued', 'running') and c.queued_at < p_as_of - interval '1 day' for update skip locked);
  return total;
end;
$$;

-- What purge executes, with the time, the retention and the limit.
create or replace function nexus_engine.purges() returns text[]
language sql stable
as $purges$
  select array[
    $$delete from public.insights where id in (
      select i.id from public.insights i
      join nexus_engine.insight_type it on it.tipo = i.tipo
      where not i.is_active and i.created_at < $1 - $2
      order by i.created_at limit $3 for update of i skip locked)$$,
    $$delete from nexus_engine.open_insight o where (o.tienda_id, o.tipo, o.subject) in (
      select c.tienda_id, c.tipo, c.subject from nexus_engine.open_insight c
      join nexus_engine.insight_type it on it.tipo = c.tipo and it.kind = 'period'
      where c.since < $1 - greatest($2, interval '60 days')
        and not exists (select from public.insights i where i.id = c.insight_id)
        -- The newest stays: it says that the store is being served.
        and exists (select from nexus_engine.open_insight newer
                    where newer.tienda_id = c.tienda_id and newer.tipo = c.tipo and newer.subject > c.subject)
      limit $3)$$,
    $$delete from nexus_engine.refresh_request r where r.id in (
      select c.id from nexus_engine.refresh_request c
      where c.status in ('succeeded', 'failed') and c.finished_at < $1 - interval '30 days' limit $3)$$,
    $$delete from nexus_engine.store_failure f where f.resolved_at < $1 - interval '90 days'$$,
    -- Of insights that come back, as in a restore, the trigger notes it again, or the nightly check.
    $$delete from nexus_engine.product_insight k where (k.producto_id, k.insight_id) in (
      select c.producto_id, c.insight_id from nexus_engine.product_insight c
      where not exists (select from public.insights i where i.id = c.insight_id) limit $3)$$,
    $$delete from nexus_engine.repeated_insight k where k.ctid = any (array(
      select c.ctid from nexus_engine.repeated_insight c
      where not exists (select from public.insights i where i.id = c.insight_id) limit $3))$$,
    -- Notes of what nobody computes: the store is closed, or has muted the type.
    $$delete from nexus_engine.sales_changed c where c.at < $1 - interval '8 days'$$,
    $$delete from nexus_engine.store_held_up h where h.retry_at < $1 - interval '1 day'$$,
    $$delete from nexus_engine.stock_out o where o.id in (
      select c.id from nexus_engine.stock_out c where c.back_at < $1 - interval '2 years' limit $3)$$,
    $$delete from nexus_engine.mutation_allowance m where (m.kind, m.id) in (
      select c.kind, c.id from nexus_engine.mutation_allowance c where c.full_at < $1 - interval '1 minute' limit $3)$$,
    $$delete from nexus_engine.product_settings s where s.producto_id in (
      select g.producto_id from nexus_engine.gone_products($1) g limit $3)$$,
    -- What was dismissed of them.
    $$delete from nexus_engine.open_insight o where (o.tienda_id, o.tipo, o.subject) in (
      select g.tienda_id, t, g.producto_id::text
      from nexus_engine.gone_products($1) g cross join unnest(nexus_engine.followed_types()) t limit $3)$$]
    || array(
      select format(
        $$delete from nexus_engine.%1$I where ctid = any (array(
          select g.ctid from nexus_engine.%1$I g
          where g.tienda_id = any (array(select nexus_engine.gone_stores($1, %2$L))) limit $3))$$,
        k.relation, k.kept_for)
      from nexus_engine.kept_by_store() k)
$purges$;
