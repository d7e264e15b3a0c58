set local role nexus_owner;

create domain nexus_engine.urgencia as text
  check (value in ('BAJA', 'MEDIA', 'ALTA', 'CRITICA'));

-- What an insight function returns, one row a finding.
create type nexus_engine.finding as (
  tienda_id uuid,
  subject text,
  nivel_urgencia text,
  mensaje text,
  extra_data jsonb
);

-- A finding beside what the reconciler remembers of it; mensaje is null when the finding is gone.
create type nexus_engine.change as (
  tienda_id uuid,
  subject text,
  nivel_urgencia text,
  mensaje text,
  extra_data jsonb,
  content_hash bigint,
  was_open boolean,
  -- The insight that stands for it, its urgency when last shown, and whether it is still shown.
  shown_id uuid,
  shown_urgencia text,
  shown boolean,
  -- The insight to be inserted, if any.
  new_id uuid
);

-- The catalogue. Rows come from sql/insights; params and enabled belong to the operators.
create table nexus_engine.insight_type (
  tipo text primary key check (tipo ~ '^[A-Z][A-Z0-9_]{0,62}$'),
  kind text not null check (kind in ('state', 'period')),
  period text check (period in ('day', 'week')),
  title text not null,
  description text not null,
  params jsonb not null default '{}',
  enabled boolean not null default true,
  check ((kind = 'period') = (period is not null))
);
comment on column nexus_engine.insight_type.params is
  'Settings of the type. For periods: settle (interval after the summary time during which sales may still be committing) and max_age (how old a missed period may be and still be announced).';

-- A missing row, or a null, means the default that the view nexus_engine.store gives.
create table nexus_engine.store_settings (
  tienda_id uuid primary key,
  time_zone text,
  summary_time time,
  weekly_summary_dow smallint check (weekly_summary_dow between 1 and 7),
  weekly_summary_time time,
  low_stock_threshold numeric(12, 3) check (low_stock_threshold >= 0),
  critical_threshold numeric(12, 3) check (critical_threshold >= 0),
  lead_time_days smallint check (lead_time_days between 0 and 365),
  cash_methods text[],
  muted_types text[],
  updated_at timestamptz not null default now()
);
comment on column nexus_engine.store_settings.weekly_summary_dow is 'ISO day of the week, 1 = Monday.';
comment on column nexus_engine.store_settings.cash_methods is
  'metodo_pago values that are money in hand: a pendiente ticket paid this way counts as sold.';

-- The reconciler's memory: which insight row stands for a finding. For periods a row says that the
-- period has been handled; its insight_id is null when there was nothing to tell (yet).
create table nexus_engine.open_insight (
  tienda_id uuid not null,
  tipo text not null,
  subject text not null,
  insight_id uuid,
  nivel_urgencia nexus_engine.urgencia,
  content_hash bigint,
  since timestamptz not null,
  primary key (tienda_id, tipo, subject)
);
comment on column nexus_engine.open_insight.nivel_urgencia is
  'The urgency last shown to the owner: at dismissal it stops following the finding.';

-- The last failure of a type for a store, until it succeeds again (resolved_at).
create table nexus_engine.store_failure (
  tienda_id uuid not null,
  tipo text not null,
  sqlstate text not null,
  message text not null,
  occurrences integer not null default 1,
  first_at timestamptz not null,
  last_at timestamptz not null,
  resolved_at timestamptz,
  primary key (tienda_id, tipo)
);

create table nexus_engine.refresh_request (
  id uuid primary key default gen_random_uuid(),
  tienda_id uuid not null,
  requested_by uuid,
  force boolean not null default false,
  status text not null default 'queued' check (status in ('queued', 'running', 'succeeded', 'failed')),
  counts jsonb,
  error_code text,
  error_message text,
  queued_at timestamptz not null default now(),
  started_at timestamptz,
  finished_at timestamptz
);
-- One queued request a store: the second caller gets the first one's.
create unique index refresh_request_queued on nexus_engine.refresh_request (tienda_id) where status = 'queued';
create index refresh_request_tienda on nexus_engine.refresh_request (tienda_id, queued_at desc);

-- Users of the POS who may see the job system. Only an owner of the database adds them.
create table nexus_engine.operator (
  user_id uuid primary key,
  added_at timestamptz not null default now()
);

-- The worker may run every engine function and read every engine table, those to come as well.
grant select on all tables in schema nexus_engine to nexus_worker;
alter default privileges for role nexus_owner in schema nexus_engine grant select on tables to nexus_worker;
alter default privileges for role nexus_owner in schema nexus_engine grant execute on functions to nexus_worker;
grant insert, update, delete on nexus_engine.open_insight, nexus_engine.store_failure,
  nexus_engine.refresh_request to nexus_worker;
grant delete on nexus_engine.store_settings to nexus_worker;
