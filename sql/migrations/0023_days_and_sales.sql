-- Business days of the shop, the methods whose pending tickets count, and what a summary needs to stay true.
set local role nexus_owner;

-- Whoever reads these views, such as the trigger of every sale, locks the view before store_settings. They are made
-- anew after this: locked in the order of their readers, so that no sale and no migration ends in a deadlock.
alter view if exists nexus_api.store_settings reset (check_option);
alter view if exists nexus_engine.product_level reset (check_option);
alter view if exists nexus_engine.sale reset (check_option);
alter view if exists nexus_engine.store reset (check_option);

alter table nexus_engine.store_settings
  add column day_starts_at time check (day_starts_at < time '24:00'),
  add column counted_pending_methods text[];
update nexus_engine.store_settings set counted_pending_methods = cash_methods where cash_methods is not null;
comment on column nexus_engine.store_settings.day_starts_at is
  'Local time at which a business day begins; it bears the date on which it begins.';
comment on column nexus_engine.store_settings.counted_pending_methods is
  'metodo_pago values whose pendiente tickets count as sold; empty: only pagado ones do.';
comment on column nexus_engine.store_settings.cash_methods is
  'Of the release before, not read any more: see counted_pending_methods.';

-- Rollups by other days are worth nothing: they are made anew.
delete from nexus_engine.rollup_state;
delete from nexus_engine.sale_mark;
truncate nexus_engine.store_day, nexus_engine.store_hour, nexus_engine.method_day, nexus_engine.product_day;
alter table nexus_engine.rollup_state
  alter column summary_time drop not null,
  alter column cash_methods drop not null,
  add column day_starts_at time not null,
  add column counted_pending_methods text[] not null;
comment on column nexus_engine.rollup_state.summary_time is 'Of the release before, not written any more.';
comment on column nexus_engine.rollup_state.cash_methods is 'Of the release before, not written any more.';

alter table nexus_engine.store_day
  add column pending numeric not null default 0,
  add column refunds integer not null default 0,
  add column refunded numeric not null default 0;
comment on column nexus_engine.store_day.pending is
  'How much of the total is pendiente by other methods than efectivo, in pesos and cents.';
comment on column nexus_engine.store_day.refunds is 'Tickets with a negative total, which are among tickets.';
comment on column nexus_engine.store_day.refunded is 'What those gave back, in pesos and cents: positive, and already taken off the total.';
alter table nexus_engine.method_day add column pending numeric not null default 0;
comment on column nexus_engine.method_day.pending is
  'How much of the total is pendiente, in pesos and cents; 0 for efectivo, which is money in hand.';

-- When a summary that has been told must be looked at again, see nexus_engine.due_periods_v2.
alter table nexus_engine.open_insight add column look_again_at timestamptz;
comment on column nexus_engine.open_insight.look_again_at is
  'Of a period that was told: when its numbers must be computed again even if no change was noted; null: only then.';

-- Summaries to be computed again: the sales of a store changed after one of this type was told. Only added to
-- and deleted from, so that whoever notes a change waits for nobody; several rows a store say no more than one.
create table nexus_engine.sales_changed (
  tienda_id uuid not null,
  tipo text not null,
  -- Its days are others now: every summary that was told, not only the recent ones.
  every_period boolean not null default false,
  at timestamptz not null default now()
);
create index sales_changed_tipo on nexus_engine.sales_changed (tipo, tienda_id);
grant insert, delete on nexus_engine.sales_changed to nexus_worker;

-- How many of the latest periods are kept true: params belong to operators, and are only added to.
update nexus_engine.insight_type t
set params = jsonb_build_object('kept_true', case t.period when 'day' then 3 else 1 end) || t.params
where t.kind = 'period';
