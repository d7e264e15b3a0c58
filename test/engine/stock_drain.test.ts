import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Pool } from "pg";
import { createLog } from "../../src/log.ts";
import { startStockDrain } from "../../src/worker/stock-drain.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { drainOutbox } from "../support/drain.ts";
import { addProduct, addStore, reconcile, setSettings, setStock } from "../support/fixtures.ts";

type Drained = { events: number; backlogs: boolean; passed_over: boolean };

describe("the drain of the stock outbox", () => {
  let db: TestDatabase;
  let worker: Pool;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
  });
  after(() => db.drop());

  const drain = async (share: number, backlog = false): Promise<Drained> => {
    const { rows } = await worker.query<Drained>(
      "select * from nexus_engine.drain_outbox($1, 500, $2, now())",
      [share, backlog],
    );
    return rows[0] as Drained;
  };
  const drainAll = () => drainOutbox(worker);
  /** How many alerts a store has. */
  const active = async (store: string) =>
    (await db.pool.query("select from public.insights where tienda_id = $1 and is_active", [store]))
      .rowCount ?? 0;
  const addProducts = async (store: string, count: number, stock = 50) => {
    await db.pool.query(
      `insert into public.productos (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
       select gen_random_uuid(), 'P', gen_random_uuid()::text, 1, 1, $3, 'general', true, $1 from generate_series(1, $2)`,
      [store, count, stock],
    );
  };
  const setAll = (store: string, stock: number) =>
    db.pool.query("update public.productos set stock_actual = $2 where tienda_id = $1", [
      store,
      stock,
    ]);

  it("looks at the products that changed, and at no others", async () => {
    const store = await addStore(db.pool);
    const [crossed, other] = [await addProduct(db.pool, store), await addProduct(db.pool, store)];
    await setStock(db.pool, other, 9);
    await drainAll();
    // Behind the triggers' back.
    await db.pool.query(
      "alter table productos disable trigger all; update productos set stock_actual = 8 where id = '" +
        `${other}'; alter table productos enable trigger all`,
    );
    await setStock(db.pool, crossed, 2);
    await drainAll();
    const { rows } = await db.pool.query(
      "select extra_data ->> 'stock_actual' as stock from public.insights where tienda_id = $1 and is_active order by 1",
      [store],
    );
    assert.deepEqual(
      rows.map(({ stock }) => stock),
      ["2", "9"],
      "8 is told after the nightly check",
    );
  });

  it("reads by key alone, however many stores and settings there are, also by plans made while there were none", async () => {
    const plans = await createTestDatabase();
    const client = await plans.poolAs("nexus_worker").connect();
    try {
      const { rows: looked } = await client.query(
        "select (select events from nexus_engine.drain_outbox(250, 500, false, now())) from generate_series(1, 8)",
      );
      assert.equal(looked.length, 8);
      await plans.pool.query(
        `with store as (
           insert into public.tiendas (id, nombre, rubro, is_active)
           select gen_random_uuid(), 'T', 'kiosco', true from generate_series(1, 300) returning id
         ), settings as (
           insert into nexus_engine.store_settings (tienda_id, low_stock_threshold) select id, 10 from store
         ), product as (
           insert into public.productos (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
           select gen_random_uuid(), 'P', id::text || n, 1, 1, 50, 'general', true, id from store, generate_series(1, 10) n
           returning id, tienda_id
         )
         insert into nexus_engine.product_settings (producto_id, tienda_id, min_stock) select id, tienda_id, 5 from product`,
      );
      await plans.pool.query(
        "analyze public.tiendas, public.productos, nexus_engine.store_settings, nexus_engine.product_settings",
      );
      await drainOutbox(plans.pool);
      await plans.pool.query("delete from nexus_engine.stock_recheck");
      await plans.pool.query(
        "update public.productos set stock_actual = 2 where id in (select id from public.productos limit 3)",
      );
      await client.query("begin");
      const { rows } = await client.query(
        "select events from nexus_engine.drain_outbox(250, 500, false, now())",
      );
      const { rows: read } = await client.query<{ relname: string; rows: number }>(
        `select relname, (seq_tup_read + idx_tup_fetch)::int as rows from pg_stat_xact_user_tables
         where relname in ('tiendas', 'store_settings', 'product_settings', 'productos', 'stock_event')
           and seq_tup_read + idx_tup_fetch > 60`,
      );
      await client.query("rollback");
      assert.equal(rows[0].events, 3);
      assert.deepEqual(read, []);
    } finally {
      client.release();
      await plans.drop();
    }
  });

  it("tells of other stores before a backlog, and of that share by share", async () => {
    const [huge, small] = [await addStore(db.pool), await addStore(db.pool)];
    const product = await addProduct(db.pool, small);
    await addProducts(huge, 900);
    await setAll(huge, 0);
    await setStock(db.pool, product, 3);
    assert.deepEqual(await drain(250), { events: 1, backlogs: true, passed_over: false });
    assert.deepEqual([await active(small), await active(huge)], [1, 0]);
    const taken: number[] = [];
    for (const backlog of [true, true, true, true, false, false]) {
      taken.push((await drain(250, backlog)).events);
    }
    assert.deepEqual(taken, [250, 250, 250, 0, 150, 0]);
    assert.equal(await active(huge), 900);
  });

  it("takes many small stores at once, but no more than its limit", async () => {
    const stores = await Promise.all(Array.from({ length: 5 }, () => addStore(db.pool)));
    for (const store of stores) await addProducts(store, 150, 1);
    const first = await drain(250);
    assert.deepEqual(first, { events: 600, backlogs: false, passed_over: false });
    assert.deepEqual((await drain(250)).events, 150);
    for (const store of stores) assert.equal(await active(store), 150);
  });

  it("looks whole at a store whose thresholds changed, and counts it as a share", async () => {
    const stores = await Promise.all(Array.from({ length: 3 }, () => addStore(db.pool)));
    for (const store of stores) {
      await addProducts(store, 3, 40);
      await setSettings(db.pool, store, { low_stock_threshold: 50 });
    }
    assert.equal((await drain(250)).events, 500);
    const told = await Promise.all(stores.map(active));
    assert.deepEqual(told.sort(), [0, 3, 3]);
    assert.deepEqual(await drain(250), { events: 250, backlogs: false, passed_over: false });
    assert.deepEqual(await Promise.all(stores.map(active)), [3, 3, 3]);
    assert.equal((await drain(250)).events, 0);
  });

  it("passes over a store that somebody reconciles, and comes back to it", async () => {
    const [busy, free] = [await addStore(db.pool), await addStore(db.pool)];
    for (const store of [busy, free]) await setStock(db.pool, await addProduct(db.pool, store), 3);
    const reconciler = await db.pool.connect();
    await reconciler.query("begin");
    await reconciler.query("select nexus_engine.lock_stores($1)", [[busy]]);
    assert.deepEqual(await drain(250), { events: 1, backlogs: false, passed_over: true });
    assert.deepEqual([await active(busy), await active(free)], [0, 1]);
    await reconciler.query("commit");
    reconciler.release();
    assert.deepEqual(await drain(250), { events: 1, backlogs: false, passed_over: false });
    assert.equal(await active(busy), 1);
  });

  it("isolates a store for which it fails", async () => {
    const stores = await Promise.all(Array.from({ length: 4 }, () => addStore(db.pool)));
    const bad = stores[1] as string;
    for (const store of stores) await setStock(db.pool, await addProduct(db.pool, store), 3);
    await db.pool.query(
      `alter table nexus_engine.open_insight add constraint bad check (tienda_id <> '${bad}')`,
    );
    await drainAll();
    await db.pool.query("alter table nexus_engine.open_insight drop constraint bad");
    assert.deepEqual(await Promise.all(stores.map(active)), [1, 0, 1, 1]);
    const { rows } = await db.pool.query(
      "select tienda_id, tipo, sqlstate from nexus_engine.store_failure where resolved_at is null",
    );
    assert.deepEqual(rows, [{ tienda_id: bad, tipo: "STOCK_BAJO", sqlstate: "23514" }]);
    await reconcile(worker, [bad], new Date());
    assert.equal(await active(bad), 1);
  });

  it("is not rung by sales while it is awake, and by one while it is not", async () => {
    const store = await addStore(db.pool);
    const products = [await addProduct(db.pool, store), await addProduct(db.pool, store)];
    const drainer = await worker.connect();
    let rung = 0;
    drainer.on("notification", () => {
      rung += 1;
    });
    await drainer.query("listen nexus_stock");
    const sell = async (stock: number) => {
      for (const product of products) await setStock(db.pool, product, stock);
      await drainer.query("select 1");
      await sleep(20);
      const was = rung;
      rung = 0;
      return was;
    };
    assert.equal(await sell(5), 2, "nobody is awake");
    const { rows } = await drainer.query("select nexus_engine.stay_awake() as awake");
    assert.equal(rows[0].awake, true);
    assert.equal(await sell(3), 0);
    await db.pool.query("update public.productos set nombre = 'Yerba' where tienda_id = $1", [
      store,
    ]);
    await drainer.query("select 1");
    await sleep(20);
    assert.equal(rung, 0, "nor by who renames what is low");
    await drainer.query("select nexus_engine.fall_asleep()");
    assert.equal(await sell(50), 2);
    await drainer.query("unlisten *");
    drainer.release();
    await drainAll();
  });

  it("of several workers tells of other stores while one imports, and of everything once", async () => {
    const importer = await addStore(db.pool);
    await addProducts(importer, 4000);
    const shops = await Promise.all(Array.from({ length: 6 }, () => addStore(db.pool)));
    const products: string[] = [];
    for (const shop of shops) products.push(await addProduct(db.pool, shop));
    const pools = [db.poolAs("nexus_worker", 2), db.poolAs("nexus_worker", 2)];
    const drains = pools.map((pool) => startStockDrain(pool, createLog("silent")));
    await setAll(importer, 0);
    const meanwhile: number[] = [];
    for (const [n, product] of products.entries()) {
      await setStock(db.pool, product, 2);
      while ((await active(shops[n] as string)) === 0) await sleep(2);
      meanwhile.push(await active(importer));
    }
    assert.ok((meanwhile[0] ?? 0) < 4000, `told after ${meanwhile} of the import`);
    // Passes over the same stores at the same time.
    await Promise.all([
      reconcile(worker, [importer, ...shops], new Date(), ["PRODUCTO_SIN_STOCK", "STOCK_BAJO"]),
      setAll(importer, 5),
      ...shops.map((shop) => reconcile(worker, [shop], new Date(), ["STOCK_BAJO"])),
    ]);
    const told = async () => {
      const { rows } = await db.pool.query(
        `select count(*)::int as alerts, count(distinct extra_data ->> 'producto_id')::int as products
         from public.insights where tienda_id = $1 and is_active and tipo = 'STOCK_BAJO'`,
        [importer],
      );
      return rows[0];
    };
    for (let tries = 0; tries < 2000 && (await told()).alerts < 4000; tries += 1) await sleep(10);
    await Promise.all(drains.map((running) => running.stop()));
    assert.deepEqual(await told(), { alerts: 4000, products: 4000 });
    assert.equal(await active(importer), 4000, "and no longer out of stock");
    // A whole pass finds nothing to do.
    for (const { tipo, ...counts } of await reconcile(worker, [importer, ...shops], new Date(), [
      "PRODUCTO_SIN_STOCK",
      "STOCK_BAJO",
    ])) {
      assert.deepEqual(counts, { inserted: 0, updated: 0, archived: 0, failed: 0 }, tipo);
    }
  });

  it("refuses an isolation in which it would not see what it waited for", async () => {
    const client = await worker.connect();
    await client.query("begin isolation level repeatable read");
    await assert.rejects(
      client.query("select * from nexus_engine.drain_outbox(250, 500, false, now())"),
      { code: "NX004" },
    );
    await client.query("rollback");
    client.release();
  });
});
