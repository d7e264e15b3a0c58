import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { PoolClient } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, reconcile, setStock } from "../support/fixtures.ts";

describe("announcements", () => {
  let db: TestDatabase;
  let ear: PoolClient;
  let heard: { store: string; payload: Record<string, string[]> }[] = [];
  let store: string;
  const asOf = new Date("2026-11-24T15:00:00Z");

  before(async () => {
    db = await createTestDatabase();
    ear = await db.pool.connect();
    ear.on("notification", ({ channel, payload = "" }) => {
      const [name, id = ""] = channel.split(":");
      if (name === "nexus_store") heard.push({ store: id, payload: JSON.parse(payload) });
    });
  });
  after(async () => {
    ear.release(true);
    await db.drop();
  });
  beforeEach(async () => {
    store = await open();
    heard = [];
  });
  afterEach(() => ear.query("unlisten *"));

  async function open(): Promise<string> {
    const id = await addStore(db.pool);
    await ear.query(`listen "nexus_store:${id}"`);
    return id;
  }
  /** What was announced until now. */
  async function announced() {
    const all = heard;
    await ear.query("select 1");
    await sleep(20);
    heard = [];
    return all;
  }
  const active = async () => {
    const { rows } = await db.pool.query<{ id: string; tipo: string }>(
      "select id, tipo from public.insights where tienda_id = $1 and is_active",
      [store],
    );
    return Object.fromEntries(rows.map(({ id, tipo }) => [tipo, id]));
  };

  it("name what is new, changed and resolved, once a store and transaction", async () => {
    const product = await addProduct(db.pool, store, { stock: 3 });
    const other = await open();
    await addProduct(db.pool, other, { stock: 3 });
    await reconcile(db.pool, [store, other], asOf);
    const first = await announced();
    assert.deepEqual(first.map(({ store }) => store).sort(), [store, other].sort());
    const { STOCK_BAJO } = await active();
    assert.deepEqual(first.find((a) => a.store === store)?.payload, { new: [STOCK_BAJO] });

    await setStock(db.pool, product, 2);
    await reconcile(db.pool, [store, other], asOf);
    assert.deepEqual(await announced(), [{ store, payload: { changed: [STOCK_BAJO] } }]);

    // Two types in one transaction: one announcement.
    await setStock(db.pool, product, 0);
    await reconcile(db.pool, [store, other], asOf);
    const { PRODUCTO_SIN_STOCK } = await active();
    assert.deepEqual(await announced(), [
      { store, payload: { new: [PRODUCTO_SIN_STOCK], resolved: [STOCK_BAJO] } },
    ]);
  });

  it("name a new summary, its completion, and the older one that it replaces", async () => {
    await addSale(db.pool, store, { fecha: "2026-11-20T15:00:00Z", total: 10 });
    await addSale(db.pool, store, { fecha: "2026-11-21T15:00:00Z", total: 10 });
    await reconcile(db.pool, [store], "2026-11-21T01:00:00Z", ["VENTAS_DIARIAS"]);
    const old = (await active())["VENTAS_DIARIAS"];
    await announced();
    await reconcile(db.pool, [store], "2026-11-21T04:00:00Z", ["VENTAS_DIARIAS"]);
    assert.deepEqual(await announced(), [{ store, payload: { changed: [old] } }]);
    await reconcile(db.pool, [store], "2026-11-22T01:00:00Z", ["VENTAS_DIARIAS"]);
    const fresh = (await active())["VENTAS_DIARIAS"];
    assert.notEqual(fresh, old);
    assert.deepEqual(await announced(), [{ store, payload: { new: [fresh], resolved: [old] } }]);
  });

  it("are not made when nothing changed, nor when it is rolled back", async () => {
    const product = await addProduct(db.pool, store, { stock: 3 });
    await reconcile(db.pool, [store], asOf);
    await announced();
    const client = await db.pool.connect();
    await client.query("begin");
    await client.query("select * from nexus_engine.reconcile(null, $1, $2)", [[store], asOf]);
    await client.query("select nexus_engine.forget_dismissals($1, $2)", [[store], asOf]);
    await client.query("commit");
    assert.deepEqual(await announced(), []);

    await setStock(db.pool, product, 1);
    await client.query("begin");
    await client.query("select * from nexus_engine.reconcile(null, $1, $2)", [[store], asOf]);
    await client.query("rollback");
    client.release();
    assert.deepEqual(await announced(), []);
  });

  it("say no more than that it was many, beyond a hundred", async () => {
    const add = (count: number) =>
      db.pool.query(
        `insert into public.productos (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
         select gen_random_uuid(), 'P', gen_random_uuid()::text, 1, 1, 1, 'general', true, $1 from generate_series(1, $2)`,
        [store, count],
      );
    await add(100);
    await reconcile(db.pool, [store], asOf);
    const [hundred] = await announced();
    assert.equal(hundred?.payload["new"]?.length, 100);
    await add(101);
    await reconcile(db.pool, [store], asOf);
    assert.deepEqual(await announced(), [{ store, payload: { many: true } }]);
  });

  it("name what a pass archives because nobody knows what it is about", async () => {
    const { rows } = await db.pool.query<{ id: string }>(
      `insert into public.insights (id, tipo, mensaje, nivel_urgencia, is_active, created_at, tienda_id)
       values (gen_random_uuid(), 'STOCK_BAJO', 'x', 'ALTA', true, now(), $1) returning id`,
      [store],
    );
    await db.pool.query("select nexus_engine.forget_dismissals($1, $2)", [[store], asOf]);
    assert.deepEqual(await announced(), []);
    await reconcile(db.pool, [store], asOf);
    assert.deepEqual(await announced(), [{ store, payload: { resolved: [rows[0]?.id] } }]);
  });

  it("name a refresh request whenever it changes, and only then", async () => {
    const { rows } = await db.pool.query<{ id: string }>(
      "select id from nexus_engine.request_refresh($1)",
      [store],
    );
    const request = rows[0]?.id;
    const told = { store, payload: { request } };
    assert.deepEqual(await announced(), []);
    await db.pool.query("select nexus_engine.request_refresh($1, null, true)", [store]);
    assert.deepEqual(await announced(), [told], "raised to force");
    await db.pool.query("select nexus_engine.request_refresh($1, null, true)", [store]);
    assert.deepEqual(await announced(), []);
    await db.pool.query("select nexus_engine.start_request($1)", [request]);
    await db.pool.query("select nexus_engine.finish_request($1, '{}')", [request]);
    assert.deepEqual(await announced(), [told, told]);
    await db.pool.query("select nexus_engine.finish_request($1, '{}')", [request]);
    assert.deepEqual(await announced(), []);
  });
});
