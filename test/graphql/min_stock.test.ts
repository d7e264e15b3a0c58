import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { drainOutbox } from "../support/drain.ts";
import { addProduct, addStore, addUser, reconcile } from "../support/fixtures.ts";
import { type Api, startApi } from "./api.ts";

describe("setProductMinStock", () => {
  let db: TestDatabase;
  let api: Api;
  before(async () => {
    db = await createTestDatabase();
    api = await startApi(db, { mutationLimits: { user: 30, store: 30 } });
  });
  after(async () => {
    await api.close();
    await db.drop();
  });

  const owner = async (settings?: Record<string, unknown>) => {
    const tienda = await addStore(db.pool, settings ? { settings } : {});
    return { tienda, user: await addUser(db.pool, tienda) };
  };
  const set = (user: string, productoId: string, minStock: unknown) =>
    api.ask(
      user,
      `mutation ($input: SetProductMinStockInput!) { setProductMinStock(input: $input) {
         producto { id minStock lowStockThreshold } } }`,
      { input: { productoId, ...(minStock !== undefined && { minStock }) } },
    );
  const thresholds = async (user: string) => {
    const { data } = await api.ask(user, "{ productos { nodes { minStock lowStockThreshold } } }");
    return data.productos.nodes;
  };
  const alerts = async (user: string) => {
    const { data } = await api.ask(
      user,
      "{ insights(filter: {isActive: {equalTo: true}}) { nodes { tipo } } stockSummary { low } }",
    );
    return [data.insights.nodes.map(({ tipo }: { tipo: string }) => tipo), data.stockSummary.low];
  };

  it("sets a product's own threshold, and with null the store's applies again", async () => {
    const { tienda, user } = await owner({ low_stock_threshold: 7.5 });
    const id = await addProduct(db.pool, tienda, { stock: 20 });
    assert.deepEqual(await thresholds(user), [{ minStock: null, lowStockThreshold: 7.5 }]);
    for (const [given, minStock, lowStockThreshold] of [
      [12, 12, 12],
      [0.3, 0.3, 0.3],
      [0, 0, 0],
      [null, null, 7.5],
      [25, 25, 25],
      [undefined, null, 7.5],
    ]) {
      const { data, errors } = await set(user, id, given);
      assert.deepEqual(errors, []);
      const expected = { minStock, lowStockThreshold };
      assert.deepEqual(data.setProductMinStock.producto, { id, ...expected });
      assert.deepEqual(await thresholds(user), [expected]);
    }
  });

  it("has the alerts follow at once", async () => {
    const { tienda, user } = await owner();
    const id = await addProduct(db.pool, tienda, { stock: 20 });
    await reconcile(db.pool, [tienda], new Date());
    assert.deepEqual(await alerts(user), [[], 0]);
    const told = async (minStock: number | null) => {
      assert.deepEqual((await set(user, id, minStock)).errors, []);
      // What the drain does as soon as it is rung.
      await drainOutbox(db.poolAs("nexus_worker", 1));
      return alerts(user);
    };
    assert.deepEqual(await told(20), [["STOCK_BAJO"], 1]);
    assert.deepEqual(await told(19.999), [[], 0]);
    assert.deepEqual(await told(50), [["STOCK_BAJO"], 1]);
    assert.deepEqual(await told(null), [[], 0]);
  });

  it("refuses what is no threshold, naming the field, and changes nothing", async () => {
    const { tienda, user } = await owner();
    const id = await addProduct(db.pool, tienda);
    await set(user, id, 4);
    for (const wrong of [-1, -0.001, 1_000_000.001, 1e12, 1e300]) {
      const { errors } = await set(user, id, wrong);
      assert.match(errors[0]?.message ?? "", /expected a number from 0 to 1,000,000/);
      assert.deepEqual(
        [errors[0]?.extensions?.code, errors[0]?.extensions?.field],
        ["BAD_USER_INPUT", "minStock"],
        `${wrong}: ${errors[0]?.message}`,
      );
    }
    for (const wrong of ["NaN", "Infinity", "-Infinity"]) {
      const call = "select nexus_api.set_product_min_stock($1, $2::float8)";
      const client = await db.pool.connect();
      await client.query("begin");
      await client.query("select set_config('nexus.user_id', $1, true)", [user]);
      await assert.rejects(client.query(call, [id, wrong]), { code: "NX001", column: "min_stock" });
      await client.query("rollback");
      client.release();
    }
    assert.equal((await thresholds(user))[0].minStock, 4);
  });

  it("knows no product of another store, nor one that there is not", async () => {
    const [one, other] = [await owner(), await owner()];
    const id = await addProduct(db.pool, one.tienda);
    await set(one.user, id, 4);
    for (const [user, producto] of [
      [other.user, id],
      [one.user, randomUUID()],
    ] as const) {
      for (const minStock of [9, null, -1]) {
        const { errors } = await set(user, producto, minStock);
        assert.deepEqual(
          [errors[0]?.extensions?.code, errors[0]?.extensions?.field],
          ["NOT_FOUND", "productoId"],
        );
      }
    }
    assert.equal((await thresholds(one.user))[0].minStock, 4);
  });

  it("counts as a mutation", async () => {
    const { tienda, user } = await owner();
    const id = await addProduct(db.pool, tienda);
    const codes = await Promise.all(
      Array.from({ length: 33 }, async () => (await set(user, id, 1)).code),
    );
    assert.equal(codes.filter((code) => code === "RATE_LIMITED").length, 3);
  });
});
