import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Pool, PoolClient } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { drainOutbox } from "../support/drain.ts";
import { addProduct, addStore, reconcile, setSettings, setStock } from "../support/fixtures.ts";
import { runJobs } from "../support/jobs.ts";
import { until } from "../support/until.ts";

/** What random interleaving found once, one by one. None of it waits for the nightly check. */
describe("stock alerts are not lost", () => {
  let db: TestDatabase;
  let worker: Pool;
  let store: string;
  let product: string;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
    await runJobs(worker);
  });
  after(() => db.drop());

  const open = async () => {
    store = await addStore(db.pool);
    product = await addProduct(db.pool, store, { stock: 18 });
    await pass();
  };
  const drain = () => drainOutbox(worker);
  const pass = () => reconcile(worker, [store], new Date(), ["PRODUCTO_SIN_STOCK", "STOCK_BAJO"]);
  const active = async () => {
    const { rows } = await db.pool.query(
      "select tipo || ' ' || (extra_data ->> 'stock_actual') as alert from public.insights where tienda_id = $1 and is_active",
      [store],
    );
    return rows.map(({ alert }) => alert);
  };
  /** Transactions of any database that began before the change hold this up. */
  const isNotLookedAtWholeForEver = () =>
    until("it is looked at whole no more", async () => {
      await pass();
      const { rowCount } = await db.pool.query(
        "select from nexus_engine.stock_recheck where tienda_id = $1",
        [store],
      );
      return rowCount === 0;
    });

  /** A sale down to 14 is under way while `change` is committed and acted upon. */
  async function saleDuring(change: () => Promise<unknown>): Promise<void> {
    const sale: PoolClient = await db.pool.connect();
    await sale.query("begin");
    await sale.query("update public.productos set stock_actual = 14 where id = $1", [product]);
    await change();
    await drain();
    assert.deepEqual(await active(), []);
    await sale.query("commit");
    sale.release();
    await pass();
  }

  it("when a sale under way judged by the threshold that the store had before", async () => {
    await open();
    await saleDuring(() => setSettings(db.pool, store, { low_stock_threshold: 15 }));
    assert.deepEqual(await active(), ["STOCK_BAJO 14"]);
    await isNotLookedAtWholeForEver();
  });

  it("when a sale under way judged by the threshold that the product had before", async () => {
    await open();
    await saleDuring(() =>
      db.pool.query(
        "insert into nexus_engine.product_settings (tienda_id, producto_id, min_stock) values ($1, $2, 15)",
        [store, product],
      ),
    );
    assert.deepEqual(await active(), ["STOCK_BAJO 14"]);
    await isNotLookedAtWholeForEver();
  });

  it("when the store was closed meanwhile", async () => {
    await open();
    const setActive = (isActive: boolean) =>
      db.pool.query("update public.tiendas set is_active = $2 where id = $1", [store, isActive]);
    await setActive(false);
    await setStock(db.pool, product, 4);
    await drain();
    await worker.query("select nexus_engine.check_stock_batch(null, 1000, now())");
    assert.deepEqual(await active(), []);
    await setActive(true);
    await pass();
    assert.deepEqual(await active(), ["STOCK_BAJO 4"]);
  });

  it("when the outbox still holds what happened before the triggers were off", async () => {
    await open();
    await setStock(db.pool, product, 8);
    await db.pool.query("select nexus_engine.detach()");
    await setStock(db.pool, product, 0);
    await db.pool.query("select nexus_engine.attach()");
    await drain();
    assert.deepEqual(await active(), ["PRODUCTO_SIN_STOCK 0"]);
    const { rows } = await db.pool.query(
      "select back_at from nexus_engine.stock_out where producto_id = $1",
      [product],
    );
    assert.deepEqual(rows, [{ back_at: null }]);
  });

  it("and are told at once when the check of all products took them from the drain", async () => {
    await open();
    await setStock(db.pool, product, 3);
    await worker.query("select nexus_engine.check_stock_batch(null, 1000, now())");
    await drain();
    assert.deepEqual(await active(), ["STOCK_BAJO 3"]);
    await isNotLookedAtWholeForEver();
  });

  it("and are told at once when a threshold changes", async () => {
    await open();
    await setSettings(db.pool, store, { low_stock_threshold: 19 });
    await drain();
    assert.deepEqual(await active(), ["STOCK_BAJO 18"]);
  });
});
