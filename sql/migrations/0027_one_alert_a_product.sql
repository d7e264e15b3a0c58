-- One alert a product, whoever made it: see sql/engine/adopt.sql.
set local role nexus_owner;

-- What others wrote to insights of ours and to their own, noted in their transaction for the drain. Only added to
-- and deleted from, so that whoever writes insights waits for nobody.
create table nexus_engine.insight_mark (
  id bigint generated always as identity,
  tienda_id uuid not null,
  insight_id uuid,
  -- active: written so. archived, deleted: it was active. dismissed: the only one a store had, archived by itself.
  -- refreshed: the store's active ones were archived together, and those that the POS does not make again are told anew.
  what text not null check (what in ('active', 'archived', 'deleted', 'dismissed', 'refreshed')),
  xid xid8 not null default pg_current_xact_id(),
  at timestamptz not null default clock_timestamp()
);
create index insight_mark_tienda on nexus_engine.insight_mark (tienda_id, id);
alter table nexus_engine.insight_mark set (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_threshold = -1);

-- Insights that were archived because others stand for their subject, or nothing should: they are deleted when
-- that happens again, so that they do not pile up.
create table nexus_engine.repeated_insight (
  tienda_id uuid not null,
  tipo text not null,
  subject text not null,
  insight_id uuid not null,
  xid xid8 not null default pg_current_xact_id(),
  primary key (tienda_id, tipo, subject, insight_id)
);

alter table nexus_engine.open_insight add column cleared boolean not null default false;
comment on column nexus_engine.open_insight.cleared is
  'The POS took its insight away, but not as dismissed: the next one that it writes of the subject stays.';

-- An insight and what it is about.
create type nexus_engine.insight_ref as (tienda_id uuid, tipo text, subject text, insight_id uuid);

-- An active insight that the engine does not know, and what is to become of it: 'archive'; 'replace' the one that
-- stands for its subject; 'open' where none does.
create type nexus_engine.foreign_insight as (
  ref nexus_engine.insight_ref,
  kind text,
  shown_id uuid,
  verdict text
);

grant insert, update, delete on nexus_engine.insight_mark, nexus_engine.repeated_insight to nexus_worker;
