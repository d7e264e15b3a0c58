-- Which summaries are no longer what the sales say. The roll-up, which learns of every change of a past ticket by
-- its marks, notes the store here; the pass that computes the summaries again takes the note away.

-- Notes for every type of kind `period` that has told something of these stores that it is to be computed again.
--   p_every: every period that was told, because the store's days are others now; else the latest few, and not of
--     types that the store has muted: that it does not any more is noted as well.
create or replace function nexus_engine.note_sales_changed(p_tiendas uuid[], p_every boolean) returns void
language sql set row_security = off
as $$
  insert into nexus_engine.sales_changed (tienda_id, tipo, every_period)
  select s.tienda_id, it.tipo, p_every
  from nexus_engine.store s
  join nexus_engine.insight_type it on it.kind = 'period' and it.enabled
  where s.tienda_id = any (p_tiendas) and (p_every or not it.tipo = any (s.muted_types)) and exists (
    select from nexus_engine.open_insight o where o.tienda_id = s.tienda_id and o.tipo = it.tipo)
$$;

-- A store's days, its sales, or the types that it wants to hear of, are others.
create or replace function nexus_engine.on_sales_settings_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform nexus_engine.note_sales_changed(array[coalesce(new.tienda_id, old.tienda_id)],
    (new.day_starts_at, new.time_zone) is distinct from (old.day_starts_at, old.time_zone));
  return null;
end;
$$;
create or replace trigger note_sales_changed
after insert or delete or update of day_starts_at, time_zone, counted_pending_methods, muted_types
on nexus_engine.store_settings
for each row execute function nexus_engine.on_sales_settings_change();
