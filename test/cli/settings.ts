import assert from "node:assert/strict";
import type { ClientBase } from "pg";

export type People = { store: string; person: string; product: string };

/** A store with every setting that there is, each another than the default. */
export async function addSettings(client: ClientBase): Promise<People> {
  const settings: Record<string, unknown> = {
    time_zone: "America/Argentina/Ushuaia",
    summary_time: "21:30",
    weekly_summary_dow: 3,
    weekly_summary_time: "08:15",
    low_stock_threshold: 12.5,
    critical_threshold: 0.125,
    lead_time_days: 2,
    day_starts_at: "06:00",
    counted_pending_methods: ["efectivo", "cripto"],
    muted_types: ["VENTAS_SEMANALES"],
  };
  const { rows: columns } = await client.query<{ name: string }>(
    `select attname as name from pg_catalog.pg_attribute
     where attrelid = 'nexus_engine.store_settings'::regclass and attnum > 0 and not attisdropped`,
  );
  assert.deepEqual(
    columns.map(({ name }) => name).sort(),
    [...Object.keys(settings), "cash_methods", "tienda_id", "updated_at"].sort(),
    "a new setting belongs into import_store, src/settings-file.ts and here",
  );
  const { rows } = await client.query<People>(
    `with store as (insert into public.tiendas (id, nombre, rubro, is_active)
       values (gen_random_uuid(), 'Kiosco', 'almacen', true) returning id),
     person as (insert into public.users (id, email, hashed_password, full_name, rol, is_active, tienda_id)
       select gen_random_uuid(), 'a@example.com', 'x', 'A', 'owner', true, id from store returning id),
     product as (insert into public.productos (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
       select gen_random_uuid(), 'Yerba', 'Y', 1, 1, 50, 'general', true, id from store returning id)
     select store.id as store, person.id as person, product.id as product from store, person, product`,
  );
  const people = rows[0] as People;
  const names = Object.keys(settings);
  await client.query(
    `insert into nexus_engine.store_settings (tienda_id, ${names.join(", ")})
     values ($1, ${names.map((_, n) => `$${n + 2}`).join(", ")})`,
    [people.store, ...Object.values(settings)],
  );
  await client.query("insert into nexus_engine.product_settings values ($1, $2, 7.25)", [
    people.product,
    people.store,
  ]);
  await client.query("insert into nexus_engine.operator values ($1)", [people.person]);
  await client.query(
    `update nexus_engine.insight_type set enabled = false, params = params || '{"settle": "1 minute"}'
     where tipo = 'VENTAS_DIARIAS'`,
  );
  return people;
}
