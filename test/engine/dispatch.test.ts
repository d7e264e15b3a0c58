import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore } from "../support/fixtures.ts";

describe("dispatch", () => {
  let db: TestDatabase;
  const stores: string[] = [];
  before(async () => {
    db = await createTestDatabase();
    for (let i = 0; i < 7; i += 1) stores.push(await addStore(db.pool));
    await addStore(db.pool, { isActive: false });
    await addSale(db.pool, stores[0] as string, { fecha: "2026-11-24T12:00:00Z", total: 5 });
  });
  beforeEach(() => db.pool.query("delete from graphile_worker._private_jobs"));
  after(() => db.drop());

  const dispatch = async (task: string, tipos: string[] | null, at: string, batch = 3) => {
    const { rows } = await db
      .poolAs("nexus_worker")
      .query("select * from nexus_engine.dispatch($1, $2, $3, $4)", [task, tipos, at, batch]);
    return rows[0];
  };
  const jobs = async () => {
    const { rows } = await db.pool.query(
      "select payload, key, priority from graphile_worker._private_jobs order by key",
    );
    return rows;
  };

  it("enqueues every active store once, in batches", async () => {
    assert.deepEqual(await dispatch("stock", ["STOCK_BAJO"], "2026-11-24T12:00:00Z"), {
      jobs: 3,
      stores: 7,
    });
    const queued = await jobs();
    assert.deepEqual(
      queued.map(({ payload }) => payload.tiendas.length),
      [3, 3, 1],
    );
    assert.deepEqual(queued.flatMap(({ payload }) => payload.tiendas).sort(), [...stores].sort());
    assert.deepEqual(queued[0].payload.tipos, ["STOCK_BAJO"]);
  });

  it("is stopped by no type that cannot say whom it is due", async () => {
    const set = (settle: string) =>
      db.pool.query(
        `update nexus_engine.insight_type set params = params || jsonb_build_object('settle', $1::text)
         where tipo = 'VENTAS_DIARIAS'`,
        [settle],
      );
    // As in a row of before params were checked.
    await db.pool.query("alter table nexus_engine.insight_type disable trigger check_params");
    await set("pronto");
    await db.pool.query("alter table nexus_engine.insight_type enable trigger check_params");
    await dispatch("all", null, "2026-11-24T12:00:00Z", 100);
    assert.deepEqual(
      (await jobs()).map(({ payload }) => [payload.tipos, payload.tiendas.length]),
      [
        [["VENTAS_DIARIAS", "VENTAS_SEMANALES"], 7],
        [["PRODUCTO_SIN_STOCK", "STOCK_BAJO"], 7],
      ],
    );
    await set("30 seconds");
  });

  it("gives a store with many low products a batch of its own", async () => {
    const large = stores.toSorted()[2] as string;
    await db.pool.query(
      "insert into nexus_engine.stock_watch select $1, gen_random_uuid(), false from generate_series(1, 500)",
      [large],
    );
    // Three ordinary stores weigh three; this one alone weighs six.
    assert.deepEqual(await dispatch("stock", ["STOCK_BAJO"], "2026-11-24T12:00:00Z"), {
      jobs: 4,
      stores: 7,
    });
    const queued = await jobs();
    assert.deepEqual(
      queued.map(({ payload }) => payload.tiendas.length),
      [2, 1, 3, 1],
    );
    assert.deepEqual(queued[1].payload.tiendas, [large]);
    assert.deepEqual(
      queued.flatMap(({ payload }) => payload.tiendas),
      stores.toSorted(),
    );
    await db.pool.query("delete from nexus_engine.stock_watch");
  });

  it("gives a store whose days are others now a batch of its own", async () => {
    const changed = stores.toSorted()[2] as string;
    await db.pool.query(
      "insert into nexus_engine.sales_changed (tienda_id, tipo, every_period) values ($1, 'VENTAS_DIARIAS', true)",
      [changed],
    );
    await dispatch("daily", ["VENTAS_DIARIAS"], "2026-11-24T23:01:00Z");
    assert.deepEqual(
      (await jobs()).map(({ payload }) => payload.tiendas.length),
      [2, 1, 3, 1],
    );
    await db.pool.query("delete from nexus_engine.sales_changed");
  });

  it("does not pile up when the queue is slow", async () => {
    for (const minute of ["00", "15", "30"])
      await dispatch("stock", ["STOCK_BAJO"], `2026-11-24T12:${minute}:00Z`);
    assert.equal((await jobs()).length, 3);
  });

  it("has open stores looked at that have a threshold above what the triggers see", async () => {
    const [open, closed] = [await addStore(db.pool), await addStore(db.pool, { isActive: false })];
    await db.pool.query(
      "insert into nexus_engine.store_settings (tienda_id, low_stock_threshold) values ($1, 500), ($2, 500)",
      [open, closed],
    );
    await db.poolAs("nexus_worker").query("select nexus_engine.dispatch_unseen(10)");
    assert.deepEqual(
      (await jobs()).map(({ payload }) => payload.tiendas),
      [[open]],
    );
    await db.pool.query("delete from public.tiendas where id in ($1, $2)", [open, closed]);
  });

  it("takes only the stores whose period is due, and none twice", async () => {
    assert.deepEqual(await dispatch("daily", ["VENTAS_DIARIAS"], "2026-11-24T23:01:00Z"), {
      jobs: 3,
      stores: 7,
    });
    await db.pool.query(
      "select * from nexus_engine.reconcile(array['VENTAS_DIARIAS'], $1, '2026-11-24T23:01:00Z')",
      [stores.slice(0, 5)],
    );
    assert.deepEqual(await dispatch("daily", ["VENTAS_DIARIAS"], "2026-11-24T23:06:00Z"), {
      jobs: 1,
      stores: 2,
    });
  });

  it("refreshes everything that is to be told, looked at again, or that changed", async () => {
    const refresh = (at: string) =>
      db.pool.query("select * from nexus_engine.reconcile(null, $1, $2)", [stores, at]);
    await refresh("2026-11-24T23:01:00Z");
    // Of stock all was told. A day that runs is looked at again after a quarter of an hour, and at its end.
    const nothing = { jobs: 0, stores: 0 };
    const everyStore = { jobs: 1, stores: 7 };
    assert.deepEqual(await dispatch("all", null, "2026-11-24T23:06:00Z", 100), nothing);
    assert.deepEqual(await dispatch("all", null, "2026-11-24T23:16:00Z", 100), everyStore);
    await refresh("2026-11-24T23:16:00Z");
    assert.deepEqual(await dispatch("all", null, "2026-11-25T02:56:00Z", 100), nothing);
    assert.deepEqual(await dispatch("all", null, "2026-11-25T03:01:00Z", 100), everyStore);
    await refresh("2026-11-25T03:01:00Z");
    assert.deepEqual(await dispatch("all", null, "2026-11-25T03:06:00Z", 100), nothing);
    // The sales of two stores changed.
    await db.pool.query("select nexus_engine.note_sales_changed($1, false)", [stores.slice(2, 4)]);
    // Of one store stock was not told, because its pass failed, or its drain has not come to it yet.
    await db.pool.query("delete from nexus_engine.stock_told where tienda_id = $1", [stores[0]]);
    await addProduct(db.pool, stores[1] ?? "", { stock: 3 });
    await db.pool.query("delete from graphile_worker._private_jobs");
    const all = await dispatch("all", null, "2026-11-25T03:06:00Z", 100);
    assert.deepEqual(all, { jobs: 2, stores: 2 + 2 });
    assert.deepEqual(
      (await jobs()).map(({ key, payload }) => [key, payload.tiendas.length]),
      [
        ["all:period:0", 2],
        ["all:state:0", 2],
      ],
    );
  });

  it("passes over types that an operator switched off", async () => {
    await db.pool.query(
      "update nexus_engine.insight_type set enabled = false where tipo = 'STOCK_BAJO'",
    );
    assert.deepEqual(await dispatch("stock", ["STOCK_BAJO"], "2026-11-24T12:00:00Z"), {
      jobs: 0,
      stores: 0,
    });
    await db.pool.query("update nexus_engine.insight_type set enabled = true");
  });
});
