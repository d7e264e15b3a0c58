import assert from "node:assert/strict";
import type { Pool } from "pg";
import { drainOutbox } from "./drain.ts";
import { addProduct, addStore, reconcile, setSettings } from "./fixtures.ts";

/** Tables with a tienda_id that forget by themselves, by time or by what the POS does. */
export const forgetful = [
  "insight_mark",
  "late_ticket",
  "missing_product",
  "missing_store",
  "pos_clock",
  "refresh_request",
  "repeated_insight",
  "sales_changed",
  "stock_event",
  "store_held_up",
];

export type KeptStores = Awaited<ReturnType<typeof keptStores>>;

/** Stores, and what is kept about them, for the tests of purge. */
export async function keptStores(owner: Pool, worker: Pool) {
  const { rows: all } = await owner.query("select relation from nexus_engine.kept_by_store()");
  const relations: string[] = all.map(({ relation }) => relation);

  const empty = () => owner.query("truncate public.tiendas cascade");
  /** Begins anew: no store, and nothing of ours. */
  async function startOver(): Promise<void> {
    await empty();
    for (const table of [...relations, ...forgetful]) {
      await owner.query(`delete from nexus_engine.${table}`);
    }
  }

  async function addStores(n: number): Promise<string[]> {
    return Promise.all(Array.from({ length: n }, () => addStore(owner)));
  }

  /** A store with a row in every table of ours that has stores. */
  async function addFullStore(): Promise<string> {
    const store = await addStore(owner);
    const product = await addProduct(owner, store, { stock: 0 });
    await setSettings(owner, store, { low_stock_threshold: 7, critical_threshold: 2 });
    await owner.query(
      "insert into nexus_engine.product_settings (producto_id, tienda_id, min_stock) values ($1, $2, 4)",
      [product, store],
    );
    await reconcile(worker, [store], "2026-03-01T06:15:00Z");
    for (const row of [
      "sale_mark (tienda_id, at) values ($1, now())",
      "stock_recheck (tienda_id) values ($1)",
      "stock_told (tienda_id, tipo, composition) values ($1, 'STOCK_BAJO', 1) on conflict do nothing",
      "store_failure (tienda_id, tipo, sqlstate, message, first_at, last_at) values ($1, 'X', '22000', '', now(), now())",
      "store_day (tienda_id, day, total, tickets, unusable) values ($1, '2026-02-01', 1, 1, 0)",
      "store_hour (tienda_id, day, hour, total, tickets) values ($1, '2026-02-01', 1, 1, 1)",
      "method_day (tienda_id, day, metodo_pago, total, tickets) values ($1, '2026-02-01', 'efectivo', 1, 1)",
      "product_day (tienda_id, day, producto_id, units, revenue, tickets) values ($1, '2026-02-01', $1, 1, 1, 1)",
      "rollup_state (tienda_id, through, next_ends_at, time_zone, day_starts_at, counted_pending_methods) values ($1, '2026-02-01', now(), 'UTC', '00:00', '{}')",
    ]) {
      await owner.query(`insert into nexus_engine.${row}`, [store]);
    }
    assert.deepEqual(await kept(store), [...relations].sort());
    return store;
  }

  /** The tables that still have something about a store. */
  async function kept(store: string): Promise<string[]> {
    const { rows } = await owner.query(
      relations
        .map(
          (t) =>
            `select '${t}' as t where exists (select from nexus_engine.${t} where tienda_id = $1)`,
        )
        .join(" union all "),
      [store],
    );
    return rows.map(({ t }) => t).sort();
  }

  async function deleteStore(store: string): Promise<void> {
    for (const table of ["insights", "productos"]) {
      await owner.query(`delete from public.${table} where tienda_id = $1`, [store]);
    }
    await owner.query("delete from public.tiendas where id = $1", [store]);
    await drainOutbox(worker);
  }

  const reopen = (store: string) =>
    owner.query(
      "insert into public.tiendas (id, nombre, rubro, is_active) values ($1, 'x', 'x', true)",
      [store],
    );

  return { relations, empty, startOver, addStores, addFullStore, kept, deleteStore, reopen };
}
