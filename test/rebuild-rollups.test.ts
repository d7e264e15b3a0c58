import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createLog } from "../src/log.ts";
import { rebuildRollups } from "../src/rebuild-rollups.ts";
import { createTestDatabase, type TestDatabase } from "./support/database.ts";
import { addProduct, addSale, addStore } from "./support/fixtures.ts";
import { rollUp, rollupRows, rowsOfTickets } from "./support/rollups.ts";
import { dropTriggers } from "./support/triggers.ts";

describe("npm run rebuild-rollups", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());
  const log = createLog("silent");

  it("finds no difference where there is none, reports and repairs those that were planted", async () => {
    for (let n = 0; n < 2; n += 1) {
      const store = await addStore(db.pool);
      const productoId = await addProduct(db.pool, store);
      for (const days of [2, 3, 900]) {
        await addSale(db.pool, store, {
          fecha: new Date(Date.now() - days * 86_400_000),
          lines: [{ productoId, cantidad: 1, precio: 10 }],
        });
      }
    }
    const clean = { stores: 2, differences: 0, first: [] };
    assert.deepEqual(await rebuildRollups(db.url, log), clean, "never rolled up is no difference");
    await rollUp(db.pool);
    await db.pool.query("update ventas set total = total + 1");
    assert.deepEqual(await rebuildRollups(db.url, log), clean, "marked is no difference");

    await db.pool.query(`
      update nexus_engine.store_day set total = total + 1 where day < current_date - 500;
      delete from nexus_engine.store_hour where day < current_date - 500;
      insert into nexus_engine.product_day
        select tienda_id, date '1950-05-05', gen_random_uuid(), 1, 1, 1 from nexus_engine.rollup_state;
      insert into nexus_engine.method_day
        select tienda_id, through + 1, 'trueque', 1, 1 from nexus_engine.rollup_state`);
    const { stores, differences, first } = await rebuildRollups(db.url, log);
    assert.deepEqual([stores, differences], [2, 8]);
    const repaired = first.find(({ rollup }) => rollup === "store_day");
    const total = (row: unknown) => (row as { total: number }).total;
    assert.deepEqual([total(repaired?.was), total(repaired?.now)], [12, 11]);
    assert.deepEqual(await rollupRows(db.pool), await rowsOfTickets(db.pool));
    assert.deepEqual(await rebuildRollups(db.url, log), clean);
  });

  it("says that nothing is kept without our triggers", async () => {
    const refused = { name: "UsageError", message: /nexus_engine\.attach\(\), otherwise wait/ };
    // As where the POS was using its tables when the engine started.
    await db.pool.query(dropTriggers);
    await assert.rejects(rebuildRollups(db.url, log), refused);
    await db.pool.query("select nexus_engine.detach()");
    await assert.rejects(rebuildRollups(db.url, log), refused);
  });
});
