import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { forgetInsights } from "../database.ts";
import { fill } from "../dataset.ts";

const dataFile = join(import.meta.dirname, "stores.sql");

/** Makes the stores, as if they had been there before we came. */
export async function makeStores(owner: Client, stores: number): Promise<void> {
  await owner.query("select nexus_engine.detach()");
  await owner.query("select set_config('bench.stores', $1, false)", [String(stores)]);
  await fill(owner, await readFile(dataFile, "utf8"));
  await owner.query("vacuum (analyze)");
  await owner.query("select nexus_engine.attach()");
}

/**
 * Tells the crontab that everything has been enqueued until tomorrow: what is measured is enqueued by
 * us, and nothing comes in between.
 */
export async function pauseSchedules(owner: Client): Promise<void> {
  const { rowCount } = await owner.query(
    "update graphile_worker._private_known_crontabs set last_execution = now() + interval '1 day'",
  );
  if (!rowCount) throw new Error("expected the worker to have entered its crontab, found none");
}

export async function addTask(owner: Client, task: string): Promise<void> {
  await owner.query("select graphile_worker.add_job($1)", [task]);
}

/** No job is left. Throws when one has failed, or when that takes ten minutes: no worker is there. */
export async function untilIdle(owner: Client): Promise<void> {
  const limit = performance.now() + 600_000;
  for (;;) {
    const { rows } = await owner.query<{ jobs: number; error: string | null }>(
      "select count(*)::int as jobs, max(last_error) as error from graphile_worker.jobs",
    );
    if (rows[0]?.error) throw new Error(`a job failed: ${rows[0].error}`);
    if (!rows[0]?.jobs) return;
    if (performance.now() > limit)
      throw new Error(`${rows[0].jobs} jobs are left after 10 minutes`);
    await sleep(50);
  }
}

/** No insight and no memory of any, and each store's product that is sold has stock again. */
export async function empty(owner: Client): Promise<void> {
  await owner.query("update public.productos set stock_actual = 10 where sku = 'SKU-SOLD'");
  await forgetInsights(owner);
  await settle(owner);
}

/** What autovacuum does soon after so many rows were written. */
export async function settle(owner: Client): Promise<void> {
  await owner.query(
    "vacuum (analyze) public.insights, nexus_engine.open_insight, public.productos, nexus_engine.stock_watch",
  );
}

/** One sale in each store, of a product that is low: one insight of each store changes by it. */
export async function sellInEachStore(owner: Client): Promise<void> {
  await owner.query(`
    with product as (select id, tienda_id from public.productos where sku = 'SKU-SOLD'),
    ticket as (
      insert into public.ventas (id, fecha, total, metodo_pago, status_pago, tienda_id)
      select gen_random_uuid(), now(), 100, 'efectivo', 'pendiente', tienda_id from product
      returning id, tienda_id
    ),
    line as (
      insert into public.detalles_venta (id, cantidad, precio_unitario, subtotal, venta_id, producto_id)
      select gen_random_uuid(), 1, 100, 100, ticket.id, product.id
      from ticket join product using (tienda_id)
    )
    update public.productos p set stock_actual = p.stock_actual - 1 from product where p.id = product.id`);
}
