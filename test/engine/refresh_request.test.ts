import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore, reconcile } from "../support/fixtures.ts";

describe("a refresh request", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  const request = async (store: string, force = false) => {
    const { rows } = await db.pool.query(
      "select * from nexus_engine.request_refresh($1, null, $2)",
      [store, force],
    );
    return rows[0];
  };
  const jobsOf = async (store: string) => {
    const { rows } = await db.pool.query(
      "select payload, priority, attempts from graphile_worker._private_jobs where payload::text like '%' || $1 || '%'",
      [store],
    );
    return rows;
  };

  it("is one a store while it is queued, and raises force", async () => {
    const store = await addStore(db.pool);
    const first = await request(store);
    const second = await request(store, true);
    assert.equal(second.id, first.id);
    assert.deepEqual([first.status, first.force, second.force], ["queued", false, true]);
    assert.deepEqual(await jobsOf(store), [
      { payload: { tiendas: [store], request_id: first.id }, priority: -10, attempts: 0 },
    ]);
    await db.pool.query("select nexus_engine.start_request($1)", [first.id]);
    assert.notEqual((await request(store)).id, first.id, "while one runs, the next one waits");
  });

  it("leaves nothing when its transaction is rolled back", async () => {
    const store = await addStore(db.pool);
    const client = await db.pool.connect();
    await client.query("begin");
    await client.query("select nexus_engine.request_refresh($1)", [store]);
    await client.query("rollback");
    client.release();
    assert.deepEqual(await jobsOf(store), []);
    const { rows } = await db.pool.query(
      "select from nexus_engine.refresh_request where tienda_id = $1",
      [store],
    );
    assert.equal(rows.length, 0);
  });

  it("gets one job and one row from ten callers at once", async () => {
    const store = await addStore(db.pool);
    const ids = await Promise.all(Array.from({ length: 10 }, () => request(store)));
    assert.equal(new Set(ids.map(({ id }) => id)).size, 1);
    assert.equal((await jobsOf(store)).length, 1);
  });

  it("gets its job again when that was lost", async () => {
    const store = await addStore(db.pool);
    const first = await request(store);
    await db.pool.query("delete from graphile_worker._private_jobs");
    assert.equal((await request(store)).id, first.id);
    assert.equal((await jobsOf(store)).length, 1);
    await request(store);
    assert.equal((await jobsOf(store)).length, 1);
    await db.pool.query("update graphile_worker._private_jobs set attempts = max_attempts");
    await request(store);
    const attempts = (await jobsOf(store)).map((job) => job.attempts).sort();
    assert.deepEqual(attempts, [0, 5], "a new job beside the one that failed for good");
  });

  it("is refused for a store that is unknown or closed, naming the field", async () => {
    const closed = await addStore(db.pool, { isActive: false });
    for (const store of [closed, "00000000-0000-4000-8000-000000000000"]) {
      await assert.rejects(request(store), { code: "NX001", column: "tienda_id" });
    }
  });

  it("with force tells dismissed alerts again and archives those of the service it replaces", async () => {
    const store = await addStore(db.pool);
    await addProduct(db.pool, store, { stock: 5 });
    await addProduct(db.pool, store, { stock: 6 });
    await reconcile(db.pool, [store], new Date());
    await db.pool.query(
      "update public.insights set is_active = false where tienda_id = $1 and extra_data ->> 'stock_actual' = '5'",
      [store],
    );
    await db.pool.query(
      `insert into public.insights (id, tipo, mensaje, nivel_urgencia, is_active, extra_data, tienda_id)
       select gen_random_uuid(), tipo, 'de la guía', 'MEDIA', true, null, $1
       from unnest(array['STOCK_BAJO', 'VENTAS_DIARIAS']) tipo`,
      [store],
    );
    const kept = await db.pool.query(
      "select id from public.insights where tienda_id = $1 and is_active and mensaje <> 'de la guía'",
      [store],
    );
    await db.pool.query("select nexus_engine.forget_dismissals($1, now())", [[store]]);
    await reconcile(db.pool, [store], new Date());
    const { rows } = await db.pool.query(
      "select id, extra_data ->> 'stock_actual' as stock from public.insights where tienda_id = $1 and is_active order by 2",
      [store],
    );
    assert.deepEqual(
      rows.map(({ stock }) => stock),
      ["5", "6"],
    );
    assert.equal(rows[1].id, kept.rows[0].id, "what was shown stays the same row");
  });
});
