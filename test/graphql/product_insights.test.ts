import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import {
  addProduct,
  addSale,
  addStore,
  addUser,
  reconcile,
  setStock,
} from "../support/fixtures.ts";
import { runJobs } from "../support/jobs.ts";
import { dropTriggers } from "../support/triggers.ts";
import { type Api, startApi } from "./api.ts";

/** producto.insights has every insight that names the product, whoever wrote it and whatever became of it. */
describe("the insights of a product", () => {
  let db: TestDatabase;
  let api: Api;
  before(async () => {
    db = await createTestDatabase();
    api = await startApi(db);
  });
  after(async () => {
    await api.close();
    await db.drop();
  });

  const worker = () => db.poolAs("nexus_worker", 1);
  const noon = (day: number) => new Date(Date.UTC(2026, 10, day, 12));
  const known = async () =>
    (await db.pool.query("select nexus_engine.product_insights_known() as known")).rows[0].known;
  const addInsight = async (tienda: string, producto: string, id: string = randomUUID()) => {
    await db.pool.query(
      "insert into public.insights select $1, 'DEL_POS', 'm', 'BAJA', true, $2, now(), $3",
      [id, { producto_id: producto }, tienda],
    );
    return id;
  };
  /** How many rows of insights name the product, and that the API has just these. */
  const check = async (user: string, tienda: string, producto: string): Promise<number> => {
    const { rows } = await db.pool.query<{ id: string }>(
      "select id from public.insights where tienda_id = $1 and lower(extra_data ->> 'producto_id') = $2 order by id",
      [tienda, producto],
    );
    const { data, errors } = await api.ask(
      user,
      `{ producto(id: "${producto}") { insights(first: 100) { totalCount nodes { id } } }
         productos { nodes { id insights { totalCount nodes { id } } } } }`,
    );
    assert.deepEqual(errors, []);
    const listed = data.productos.nodes.find(({ id }: { id: string }) => id === producto);
    for (const { insights } of [data.producto, listed]) {
      const ids = insights.nodes.map(({ id }: { id: string }) => id).sort();
      assert.deepEqual([ids, insights.totalCount], [rows.map(({ id }) => id), rows.length]);
    }
    return rows.length;
  };

  it("are those that the engine has open, has closed, and has told anew after a dismissal", async () => {
    const pool = worker();
    const tienda = await addStore(db.pool);
    const user = await addUser(db.pool, tienda);
    const producto = await addProduct(db.pool, tienda, { stock: 8 });
    const tell = async (stock: number, day: number) => {
      await setStock(db.pool, producto, stock);
      await reconcile(pool, [tienda], noon(day));
      return check(user, tienda, producto);
    };
    assert.equal(await tell(8, 1), 1);
    assert.equal(await tell(7, 2), 1, "changed in place");
    assert.equal(await tell(50, 3), 1, "closed");
    assert.equal(await tell(8, 4), 2, "opened again");
    await db.pool.query("update public.insights set is_active = false where tienda_id = $1", [
      tienda,
    ]);
    assert.equal(await tell(8, 5), 2, "dismissed");
    assert.equal(await tell(2, 6), 3, "worse than dismissed");
    assert.equal(await tell(0, 7), 4, "out of stock");
    assert.equal(await tell(50, 8), 4, "all closed");
    await db.pool.query("delete from nexus_engine.open_insight");
    assert.equal(await tell(8, 9), 5, "forgotten");
    assert.equal(await known(), true);
  });

  it("are those of others as well, inserted, changed, moved and deleted", async () => {
    const tienda = await addStore(db.pool);
    const user = await addUser(db.pool, tienda);
    const [one, two] = [await addProduct(db.pool, tienda), await addProduct(db.pool, tienda)];
    const both = async () => [await check(user, tienda, one), await check(user, tienda, two)];
    const id = await addInsight(tienda, one.toUpperCase());
    assert.deepEqual(await both(), [1, 0]);
    const change = (set: string, value: unknown) =>
      db.pool.query(`update public.insights set ${set} = $1 where id = $2`, [value, id]);
    await change("extra_data", { producto_id: two });
    assert.deepEqual(await both(), [0, 1]);
    for (const nothing of [null, "[]", '{"producto_id": 7}', '{"producto_id": "x"}']) {
      await change("extra_data", nothing);
      assert.deepEqual(await both(), [0, 0]);
    }
    await change("extra_data", { producto_id: one });
    const other = await addStore(db.pool);
    await change("tienda_id", other);
    assert.deepEqual(await both(), [0, 0]);
    await change("tienda_id", tienda);
    assert.deepEqual(await both(), [1, 0]);
    await db.pool.query("delete from public.insights where id = $1", [id]);
    assert.deepEqual(await both(), [0, 0]);
    await db.pool.query("select nexus_engine.purge(now(), '180 days', 1000)");
    const left = "select from nexus_engine.product_insight where insight_id = $1";
    assert.equal((await db.pool.query(left, [id])).rowCount, 0);
  });

  it("are complete without our triggers, after attaching, and once a job has looked for those between", async () => {
    const tienda = await addStore(db.pool);
    const user = await addUser(db.pool, tienda);
    const producto = await addProduct(db.pool, tienda, { stock: 5 });
    await reconcile(worker(), [tienda], noon(1));
    await addInsight(tienda, producto);
    const steps = [dropTriggers, "select nexus_engine.attach()"];
    for (const [n, step] of steps.entries()) {
      await db.pool.query(step);
      await addInsight(tienda, producto);
      assert.equal(await known(), false, step);
      assert.equal(await check(user, tienda, producto), 3 + n, step);
    }
    await runJobs(worker());
    assert.equal(await known(), true);
    assert.equal(await check(user, tienda, producto), 4);
    await db.pool.query("alter table public.insights disable trigger nexus_insight_change");
    await addInsight(tienda, producto);
    assert.equal(await check(user, tienda, producto), 5);
    await db.pool.query("select nexus_engine.attach()");
    assert.equal(await check(user, tienda, producto), 5);
  });

  it("of every type of ours have their product as the subject, by which they are found", async () => {
    const tienda = await addStore(db.pool);
    const producto = await addProduct(db.pool, tienda, { stock: 5 });
    await addProduct(db.pool, tienda, { stock: 0 });
    const lines = [{ productoId: producto, cantidad: 1, precio: 100 }];
    for (const day of [8, 9]) await addSale(db.pool, tienda, { fecha: noon(day), lines });
    await reconcile(worker(), [tienda], noon(10));
    const told = "select distinct tipo from public.insights where tienda_id = $1";
    const types = "select tipo from nexus_engine.insight_type";
    const count = (await db.pool.query(types)).rowCount;
    assert.equal(
      (await db.pool.query(told, [tienda])).rowCount,
      count,
      "not every type has spoken",
    );
    const { rows } = await db.pool.query(
      `select o.tipo, o.subject = i.extra_data ->> 'producto_id' as same
       from nexus_engine.open_insight o join public.insights i on i.id = o.insight_id
       where o.tienda_id = $1 and i.extra_data ->> 'producto_id' is not null order by 1`,
      [tienda],
    );
    assert.deepEqual(rows, [
      { tipo: "PRODUCTO_SIN_STOCK", same: true },
      { tipo: "STOCK_BAJO", same: true },
    ]);
  });
});
