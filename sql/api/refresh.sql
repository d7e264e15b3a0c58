drop function if exists nexus_api.refresh_insights(boolean);
drop view if exists nexus_api.refresh_requests;
drop type if exists nexus_api.refresh_status, nexus_api.refresh_count;

create type nexus_api.refresh_status as enum ('queued', 'running', 'succeeded', 'failed');
comment on type nexus_api.refresh_status is 'How far a refresh has come.';

create type nexus_api.refresh_count as (tipo text, inserted int, updated int, archived int, failed int);
comment on type nexus_api.refresh_count is 'What a refresh did with the insights of one type.';
comment on column nexus_api.refresh_count.tipo is E'@notNull';
comment on column nexus_api.refresh_count.inserted is E'@notNull';
comment on column nexus_api.refresh_count.updated is E'@notNull';
comment on column nexus_api.refresh_count.archived is E'@notNull';
comment on column nexus_api.refresh_count.failed is E'@notNull\n1 when the type could not be computed for the store, else 0.';

-- counts is an object, for each type what nexus_engine.reconcile returned.
create view nexus_api.refresh_requests with (security_barrier) as
select
  r.id,
  r.status::nexus_api.refresh_status as status,
  r.force,
  array(
    select row(c.tipo, n.inserted, n.updated, n.archived, n.failed)::nexus_api.refresh_count
    from jsonb_each(r.counts) c (tipo, counts)
    cross join lateral jsonb_to_record(c.counts) n (inserted int, updated int, archived int, failed int)
    order by c.tipo
  ) as counts,
  r.error_code,
  r.error_message,
  r.queued_at,
  r.started_at,
  r.finished_at
from nexus_engine.refresh_request r
where r.tienda_id = (select nexus_engine.current_tienda_id());
grant select on nexus_api.refresh_requests to nexus_tienda;

comment on view nexus_api.refresh_requests is E'@name refresh_request\n@primaryKey id\n@behavior -query:resource:list -query:resource:connection\nA request to compute the insights of the store now.';
comment on column nexus_api.refresh_requests.id is E'@notNull';
comment on column nexus_api.refresh_requests.status is E'@notNull';
comment on column nexus_api.refresh_requests.force is E'@notNull\nWhether dismissed insights are told again.';
comment on column nexus_api.refresh_requests.counts is E'@notNull\nWhat was done, by type; empty until the refresh has ended.';
comment on column nexus_api.refresh_requests.error_code is 'Why the refresh failed, for programs.';
comment on column nexus_api.refresh_requests.error_message is 'Why the refresh failed, for people.';
comment on column nexus_api.refresh_requests.queued_at is E'@notNull';

-- Asks for a refresh in the caller's transaction: a rollback takes back request and job.
--   force: tell again what the owner dismissed, see nexus_engine.request_refresh; null is false.
-- Errors: NX003 without a store.
create function nexus_api.refresh_insights(force boolean default false)
returns nexus_api.refresh_requests language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms'
as $$
declare
  request nexus_engine.refresh_request;
  shown nexus_api.refresh_requests;
begin
  request := nexus_engine.request_refresh(
    nexus_engine.require_tienda_id(), nullif(current_setting('nexus.user_id', true), '')::uuid, force);
  select * into shown from nexus_api.refresh_requests r where r.id = request.id;
  return shown;
end;
$$;
comment on function nexus_api.refresh_insights(boolean) is E'@resultFieldName refreshRequest\nComputes the insights of the store in the background, now and before scheduled work. While a request is queued, asking again returns that one. Ask `refreshRequest(id)` how far it has come.';
grant execute on function nexus_api.refresh_insights(boolean) to nexus_tienda;
