import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import type { Pool } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { drainOutbox } from "../support/drain.ts";
import { addProduct, addSale, addStore, reconcile } from "../support/fixtures.ts";
import { rollUp } from "../support/rollups.ts";

const tables = ["tiendas", "productos", "ventas", "detalles_venta", "insights"] as const;
type Table = (typeof tables)[number];

/** A Monday morning. */
const asOf = "2026-01-12T13:00:00Z";

describe("a restore of the POS's tables", () => {
  let db: TestDatabase;
  let worker: Pool;
  let store: string;
  let low: string;
  let dismissed: string;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
    await db.pool.query("create schema backup");
  });
  after(() => db.drop());

  /** Two stores; the first has an alert, one that the owner dismissed, settings and summaries. */
  beforeEach(async () => {
    await addStore(db.pool);
    store = await addStore(db.pool, { settings: { critical_threshold: 2 } });
    low = await addProduct(db.pool, store, { stock: 5 });
    dismissed = await addProduct(db.pool, store, { stock: 0 });
    await db.pool.query(
      "insert into nexus_engine.product_settings (producto_id, tienda_id, min_stock) values ($1, $2, 8)",
      [low, store],
    );
    for (const day of ["04", "08", "10", "11"]) {
      const lines = [{ productoId: low, cantidad: 2, precio: 100 }];
      await addSale(db.pool, store, { fecha: `2026-01-${day}T15:00:00Z`, lines });
    }
    await work();
    await dismiss("extra_data ->> 'producto_id' = $1", dismissed);
    await dismiss("tipo = 'VENTAS_DIARIAS' and tienda_id = $1", store);
    await db.pool.query(
      tables
        .map(
          (t) => `drop table if exists backup.${t}; create table backup.${t} as table public.${t}`,
        )
        .join(";"),
    );
  });

  const dismiss = async (which: string, value: string) => {
    const { rowCount } = await db.pool.query(
      `update public.insights set is_active = false where is_active and ${which}`,
      [value],
    );
    assert.equal(rowCount, 1);
  };

  const restore = (table: Table) =>
    db.pool.query(`insert into public.${table} select * from backup.${table}`);

  /** What the workers do at any time. */
  async function work(): Promise<void> {
    await drainOutbox(worker);
    const { rows } = await db.pool.query("select array_agg(id) as ids from public.tiendas");
    await reconcile(worker, rows[0].ids ?? [], asOf);
    await worker.query("select nexus_engine.check_stock_batch(null, 100, $1)", [asOf]);
    await worker.query("select nexus_engine.note_product_insights()");
    await rollUp(worker);
    await worker.query("select nexus_engine.purge($1, '180 days', 1000)", [asOf]);
  }

  const told = async () =>
    (
      await db.pool.query(
        "select id, tipo, mensaje, is_active, extra_data from public.insights where tienda_id = $1 order by id",
        [store],
      )
    ).rows;
  const shown = async () =>
    (await told()).flatMap(({ is_active, mensaje }) => (is_active ? [mensaje] : [])).sort();
  const entered = async () =>
    (
      await db.pool.query(
        "select s.critical_threshold, p.min_stock from nexus_engine.store_settings s join nexus_engine.product_settings p using (tienda_id) where tienda_id = $1",
        [store],
      )
    ).rows;

  it("loses nothing and tells nothing twice", async () => {
    const before = [await told(), await entered()];
    assert.equal(before[0]?.length, 4, "two alerts and two summaries");
    assert.equal((await shown()).length, 2, "one of each");
    await db.pool.query("truncate public.tiendas cascade");
    await work();
    await work();
    for (const table of tables) {
      await restore(table);
      await work();
    }
    assert.deepEqual([await told(), await entered()], before);
  });

  it("brings back what it took away, and nothing that was dismissed, when the insights are there before the rest", async () => {
    const before = [await shown(), await entered()];
    await db.pool.query("truncate public.tiendas cascade");
    await work();
    for (const table of ["tiendas", "insights", "ventas", "productos", "detalles_venta"] as const) {
      await restore(table);
      await work();
    }
    assert.deepEqual([await shown(), await entered()], before);
  });

  it("keeps what was dismissed and entered while only the products are away, for 30 days", async () => {
    const before = [await shown(), await entered()];
    const memory = "select from nexus_engine.open_insight where subject = $1";
    const remembered = async () => (await db.pool.query(memory, [dismissed])).rowCount;
    await db.pool.query("truncate public.productos cascade");
    await work();
    assert.deepEqual(await shown(), before[0]?.slice(0, 1), "an alert of a product ends with it");
    for (const table of ["productos", "detalles_venta"] as const) await restore(table);
    await work();
    assert.deepEqual([await shown(), await entered()], before);

    await db.pool.query("truncate public.productos cascade");
    await work();
    // As the task does, until nothing is left to delete.
    const purge = async (days: number): Promise<void> => {
      const { rows } = await worker.query(
        "select nexus_engine.purge($1::timestamptz + make_interval(days => $2), '1 year', 1) as n",
        [asOf, days],
      );
      if (rows[0].n > 0) await purge(days);
    };
    await purge(29);
    assert.deepEqual([await entered(), await remembered()], [before[1], 1]);
    await purge(30);
    assert.deepEqual([await entered(), await remembered()], [[], 0]);
    const { rowCount } = await db.pool.query("select from nexus_engine.missing_product");
    assert.equal(rowCount, 0);
  });
});
