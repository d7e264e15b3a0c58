import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, reconcile } from "../support/fixtures.ts";

describe("purge", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  const count = async (from: string) =>
    Number((await db.pool.query(`select count(*) from ${from}`)).rows[0].count);

  it("deletes archived insights past their retention, and the memory of a store that is gone", async () => {
    const store = await addStore(db.pool);
    await addProduct(db.pool, store, { stock: 5 });
    for (const day of ["01", "02", "03"]) {
      await addSale(db.pool, store, { fecha: `2026-01-${day}T12:00:00Z`, total: 5 });
      await reconcile(db.pool, [store], `2026-01-${day}T23:05:00Z`, [
        "STOCK_BAJO",
        "VENTAS_DIARIAS",
      ]);
    }
    await db.pool.query(
      `insert into public.insights (id, tipo, mensaje, nivel_urgencia, is_active, created_at, tienda_id)
       values (gen_random_uuid(), 'DE_OTRO', 'not ours', 'BAJA', false, '2020-01-01', $1)`,
      [store],
    );
    await db.pool.query(
      `insert into nexus_engine.open_insight (tienda_id, tipo, subject, since)
       values (gen_random_uuid(), 'STOCK_BAJO', 'x', now())`,
    );
    const worker = db.poolAs("nexus_worker");
    const purge = async (at: string) =>
      (await worker.query("select nexus_engine.purge($1, interval '90 days', 1000)", [at])).rows[0]
        .purge;

    assert.equal(await purge("2026-02-01T00:00:00Z"), 0, "that the store is gone is not proved");
    assert.equal(await count("public.insights"), 5);
    // The two superseded summaries and their memory; the active ones and what is not ours stay. And the store's.
    assert.equal(await purge("2026-05-01T00:00:00Z"), 4 + 1);
    assert.equal(await purge("2026-05-01T00:00:00Z"), 0);
    assert.equal(await count("public.insights"), 3);
    assert.equal(await count("nexus_engine.open_insight"), 2);
  });
});
