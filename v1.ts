const index = "create index if not exists nexus_ventas_tienda_fecha on public.ventas (tienda_id, fecha)";
const noop = `create or replace function public.noop() returns trigger language plpgsql as $$ begin return null; end $$`;
export const variants = {
  "detached": [],
  "index": [index],
  "attach+index": ["select nexus_engine.attach()", index],
  "noop line row trigger": [noop, "create trigger nexus_x after insert on detalles_venta for each row execute function noop()"],
  "noop line statement trigger": [noop, "create trigger nexus_x after insert on detalles_venta for each statement execute function noop()"],
  "line current WHEN": [noop, "create trigger nexus_x after insert on detalles_venta for each row when (current_setting('nexus.sale', true) is distinct from new.venta_id::text) execute function noop()", "set nexus.sale = ''"],
  "line WHEN false tiny": [noop, "create trigger nexus_x after insert on detalles_venta for each row when (new.cantidad is null) execute function noop()"],
  "stock WHEN current": ["select nexus_engine.fit_triggers()", "drop trigger nexus_stock_insert on productos"],
  "stock WHEN least": [noop, "create trigger nexus_x after update of stock_actual, is_active on productos for each row when (least(old.stock_actual, new.stock_actual) <= 10) execute function noop()"],
  "stock WHEN tiny": [noop, "create trigger nexus_x after update of stock_actual, is_active on productos for each row when (new.stock_actual <= 10) execute function noop()"],
  "stock noop": [noop, "create trigger nexus_x after update of stock_actual, is_active on productos for each row execute function noop()"],
  "sale WHEN": [noop, "create trigger nexus_x after insert on ventas for each row when (new.fecha < clock_timestamp() - interval '10 min') execute function noop()"],
  "sale current": [noop, "create trigger nexus_x after insert on ventas for each row execute function nexus_engine.on_sale_insert()"],
};
