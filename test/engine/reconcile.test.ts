import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Pool } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import {
  addProduct,
  addSale,
  addStore,
  reconcile,
  setSettings,
  setStock,
} from "../support/fixtures.ts";

type Insight = {
  id: string;
  tipo: string;
  nivel_urgencia: string;
  mensaje: string;
  is_active: boolean;
  extra_data: Record<string, unknown>;
};

const t0 = "2026-11-24T15:00:00Z";
const later = (hours: number) => new Date(Date.parse(t0) + hours * 3_600_000);

describe("reconcile", () => {
  let db: TestDatabase;
  let pool: Pool;
  /** The worker's role: what it may not do must fail here. */
  let worker: Pool;

  before(async () => {
    db = await createTestDatabase();
    pool = db.pool;
    worker = db.poolAs("nexus_worker", 12);
  });
  after(() => db.drop());

  const insightsOf = async (tienda: string, where = "true"): Promise<Insight[]> => {
    const { rows } = await pool.query<Insight>(
      `select * from public.insights where tienda_id = $1 and ${where} order by created_at, tipo, mensaje`,
      [tienda],
    );
    return rows;
  };
  const dismiss = (id: string | undefined) =>
    pool.query("update public.insights set is_active = false where id = $1", [id]);
  /** Every tuple version of what the reconciler writes: any write at all changes the answer. */
  const versions = async () => {
    const { rows } = await pool.query(
      `select 'i' as t, id::text as k, xmin::text, xmax::text, ctid::text from public.insights
       union all select 'o', tienda_id || tipo || subject, xmin::text, xmax::text, ctid::text from nexus_engine.open_insight
       union all select 'f', tienda_id || tipo, xmin::text, xmax::text, ctid::text from nexus_engine.store_failure
       order by 1, 2`,
    );
    return rows;
  };

  it("writes nothing the second time", async () => {
    const stores = await Promise.all([1, 2, 3].map(() => addStore(pool)));
    for (const store of stores) {
      for (const stock of [-1, 0, 1, 4, 9, 10, 11]) await addProduct(pool, store, { stock });
      await addSale(pool, store, { fecha: "2026-11-23T15:00:00Z", total: 100 });
    }
    // A store without sales has a period with nothing to tell: that must not be written again either.
    const quiet = await addStore(pool);
    const first = await reconcile(worker, [...stores, quiet], later(0));
    assert.deepEqual(
      first.map(({ tipo, inserted, failed }) => [tipo, inserted, failed]),
      [
        ["PRODUCTO_SIN_STOCK", 6, 0],
        ["STOCK_BAJO", 12, 0],
        ["VENTAS_DIARIAS", 3, 0],
        ["VENTAS_SEMANALES", 0, 0],
      ],
    );
    const before = await versions();
    const second = await reconcile(worker, [...stores, quiet], later(1));
    assert.deepEqual(await versions(), before);
    assert.ok(second.every((row) => row.inserted + row.updated + row.archived + row.failed === 0));
  });

  it("updates a changed finding in place and archives one that is gone", async () => {
    const store = await addStore(pool);
    const product = await addProduct(pool, store, { stock: 9, nombre: "Azúcar" });
    await reconcile(worker, [store], later(0));
    const [shown] = await insightsOf(store);
    await setStock(pool, product, 4);
    await reconcile(worker, [store], later(1));
    const [changed, ...others] = await insightsOf(store);
    assert.equal(others.length, 0);
    assert.equal(changed?.id, shown?.id);
    assert.equal(changed?.nivel_urgencia, "ALTA");
    assert.equal(changed?.extra_data["stock_actual"], 4);
    await setStock(pool, product, 50);
    await reconcile(worker, [store], later(2));
    const [gone] = await insightsOf(store);
    assert.equal(gone?.is_active, false);
    assert.equal(gone?.extra_data["resuelto_at"], "2026-11-24T17:00:00Z");
    assert.equal(gone?.extra_data["stock_actual"], 4);
  });

  it("leaves alone what the owner dismissed, until it gets worse", async () => {
    const store = await addStore(pool);
    const product = await addProduct(pool, store, { stock: 8 });
    await reconcile(worker, [store], later(0));
    await dismiss((await insightsOf(store))[0]?.id);
    for (const [hour, stock] of [
      [1, 8],
      [2, 7],
      [3, 9],
      [4, 6],
    ] as const) {
      await setStock(pool, product, stock);
      await reconcile(worker, [store], later(hour));
      assert.equal((await insightsOf(store, "is_active")).length, 0, `stock ${stock}`);
    }
    await setStock(pool, product, 4);
    await reconcile(worker, [store], later(5));
    const active = await insightsOf(store, "is_active");
    assert.equal(active.length, 1);
    assert.equal(active[0]?.nivel_urgencia, "ALTA");
    assert.equal(
      (await insightsOf(store)).length,
      2,
      "a new row, the dismissed one stays as it was",
    );
  });

  it("compares with the urgency at dismissal, not with what came after", async () => {
    const store = await addStore(pool);
    const product = await addProduct(pool, store, { stock: 4 });
    await reconcile(worker, [store], later(0));
    await dismiss((await insightsOf(store))[0]?.id);
    for (const [hour, stock] of [
      [1, 9],
      [2, 4],
    ] as const) {
      await setStock(pool, product, stock);
      await reconcile(worker, [store], later(hour));
    }
    assert.equal((await insightsOf(store, "is_active")).length, 0);
    await setStock(pool, product, 2);
    await reconcile(worker, [store], later(3));
    assert.deepEqual(
      (await insightsOf(store, "is_active")).map((i) => i.nivel_urgencia),
      ["CRITICA"],
    );
  });

  it("tells a dismissed alert again after the stock recovered and fell again", async () => {
    const store = await addStore(pool);
    const product = await addProduct(pool, store, { stock: 8 });
    await reconcile(worker, [store], later(0));
    await dismiss((await insightsOf(store))[0]?.id);
    for (const [hour, stock] of [
      [1, 40],
      [2, 8],
    ] as const) {
      await setStock(pool, product, stock);
      await reconcile(worker, [store], later(hour));
    }
    const [dismissed, again] = await insightsOf(store);
    assert.equal(dismissed?.is_active, false);
    assert.equal(dismissed?.extra_data["resuelto_at"], undefined, "it was dismissed, not resolved");
    assert.equal(again?.is_active, true);
  });

  it("treats a deleted alert as a dismissed one", async () => {
    const store = await addStore(pool);
    const product = await addProduct(pool, store, { stock: 8 });
    await reconcile(worker, [store], later(0));
    await pool.query("delete from public.insights where tienda_id = $1", [store]);
    await setStock(pool, product, 7);
    await reconcile(worker, [store], later(1));
    assert.equal((await insightsOf(store)).length, 0);
    await setStock(pool, product, 0);
    await reconcile(worker, [store], later(2));
    assert.deepEqual(
      (await insightsOf(store)).map((i) => i.tipo),
      ["PRODUCTO_SIN_STOCK"],
    );
  });

  it("moves a product from STOCK_BAJO to PRODUCTO_SIN_STOCK and back", async () => {
    const store = await addStore(pool);
    const product = await addProduct(pool, store, { stock: 2 });
    const active = async () => (await insightsOf(store, "is_active")).map((i) => i.tipo);
    await reconcile(worker, [store], later(0));
    assert.deepEqual(await active(), ["STOCK_BAJO"]);
    await setStock(pool, product, -3);
    await reconcile(worker, [store], later(1));
    assert.deepEqual(await active(), ["PRODUCTO_SIN_STOCK"]);
    await setStock(pool, product, 2);
    await reconcile(worker, [store], later(2));
    assert.deepEqual(await active(), ["STOCK_BAJO"]);
  });

  it("passes over inactive stores and products and stock that is no number", async () => {
    const closed = await addStore(pool, { isActive: false });
    await addProduct(pool, closed, { stock: 0 });
    const store = await addStore(pool);
    await addProduct(pool, store, { stock: 0, isActive: false });
    for (const stock of ["NaN", "Infinity", "-Infinity", "-1e300"])
      await addProduct(pool, store, { stock });
    const rows = await reconcile(worker, [closed, store], later(0));
    assert.ok(rows.every((row) => row.inserted === 0 && row.failed === 0));
  });

  it("archives the alerts of a type that the store mutes", async () => {
    const store = await addStore(pool);
    await addProduct(pool, store, { stock: 5 });
    await reconcile(worker, [store], later(0));
    await setSettings(pool, store, { muted_types: ["STOCK_BAJO"] });
    await reconcile(worker, [store], later(1));
    assert.equal((await insightsOf(store, "is_active")).length, 0);
    await setSettings(pool, store, { muted_types: [] });
    await reconcile(worker, [store], later(2));
    assert.equal((await insightsOf(store, "is_active")).length, 1);
  });

  it("neither duplicates nor deadlocks with ten at once over overlapping stores", async () => {
    const stores = await Promise.all(Array.from({ length: 40 }, () => addStore(pool)));
    const products = await Promise.all(
      stores.flatMap((store) => [0, 5, 9].map((stock) => addProduct(pool, store, { stock }))),
    );
    await Promise.all(
      stores.map((store) => addSale(pool, store, { fecha: "2026-11-23T15:00:00Z", total: 10 })),
    );
    for (let round = 0; round < 6; round += 1) {
      await Promise.all(
        Array.from({ length: 10 }, async (_, i) => {
          const mine = stores.filter((_, n) => (n * 7 + i * 3 + round) % 4 !== 0);
          if (i % 2) mine.reverse();
          if (i === 3) await setStock(pool, products[round * 5 + 1] as string, round % 2 ? 40 : 2);
          await reconcile(worker, mine, later(round));
        }),
      );
      const { rows } = await pool.query(
        `select tienda_id, tipo, extra_data ->> 'producto_id' as producto, extra_data ->> 'fecha' as fecha, count(*)
         from public.insights where is_active and tienda_id = any ($1)
         group by 1, 2, 3, 4 having count(*) > 1`,
        [stores],
      );
      assert.deepEqual(rows, []);
    }
    await reconcile(worker, stores, later(7));
    const { rows } = await pool.query(
      `select f.tienda_id, f.subject from nexus_engine.insight_stock_bajo($1, $2) f
       full join (select tienda_id, extra_data ->> 'producto_id' as subject from public.insights
                  where is_active and tipo = 'STOCK_BAJO' and tienda_id = any ($1)) i using (tienda_id, subject)
       where f.mensaje is null or i.subject is null`,
      [stores, later(7)],
    );
    assert.deepEqual(rows, [], "the alerts are what the function says");
  });

  it("refuses what would break its promises", async () => {
    const store = await addStore(pool);
    await assert.rejects(reconcile(worker, [store], later(0), ["STOCK_BAJISIMO"]), {
      code: "NX001",
      column: "tipos",
    });
    await assert.rejects(
      worker.query("select * from nexus_engine.reconcile(null, $1, null)", [[store]]),
      {
        code: "NX001",
        column: "as_of",
      },
    );
    const client = await worker.connect();
    try {
      await client.query("begin isolation level repeatable read");
      await assert.rejects(
        client.query("select * from nexus_engine.reconcile(null, $1, now())", [[store]]),
        {
          code: "NX004",
        },
      );
      await client.query("rollback");
    } finally {
      client.release();
    }
  });
});

describe("a failing store", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
    // A type made by the contract, whose function fails on the data of one store.
    await db.pool.query(`
      set role nexus_owner;
      insert into nexus_engine.insight_type (tipo, kind, title, description) values ('PRUEBA', 'state', 'x', 'x');
      create function nexus_engine.insight_prueba(tiendas uuid[], as_of timestamptz)
      returns setof nexus_engine.finding language sql stable as $$
        select t.id, 'x', 'BAJA', 'Uno sobre ' || (1 / (t.nombre::int)), '{}'::jsonb, null::bigint
        from public.tiendas t where t.id = any (tiendas)
      $$;
      reset role;`);
  });
  after(() => db.drop());

  it("does not stop the other 99 of its batch and is reported until it succeeds", async () => {
    const stores: string[] = [];
    for (let i = 1; i <= 100; i += 1) stores.push(await addStore(db.pool, { nombre: String(i) }));
    const bad = stores[41] as string;
    await db.pool.query("update public.tiendas set nombre = '0' where id = $1", [bad]);
    await addProduct(db.pool, bad, { stock: 0 });

    const worker = db.poolAs("nexus_worker");
    const rows = await reconcile(worker, stores, t0);
    assert.deepEqual(
      rows.find((row) => row.tipo === "PRUEBA"),
      {
        tipo: "PRUEBA",
        inserted: 99,
        updated: 0,
        archived: 0,
        failed: 1,
      },
    );
    assert.equal(
      rows.find((row) => row.tipo === "PRODUCTO_SIN_STOCK")?.inserted,
      1,
      "its other types go on",
    );
    await reconcile(worker, stores, later(1));
    const failures = await db.pool.query("select * from nexus_engine.store_failure");
    assert.equal(failures.rows.length, 1);
    assert.equal(failures.rows[0].tienda_id, bad);
    assert.equal(failures.rows[0].sqlstate, "22012");
    assert.equal(failures.rows[0].occurrences, 2);
    assert.equal(failures.rows[0].resolved_at, null);

    await db.pool.query("update public.tiendas set nombre = '7' where id = $1", [bad]);
    await reconcile(worker, stores, later(2));
    const { rows: resolved } = await db.pool.query(
      "select resolved_at from nexus_engine.store_failure",
    );
    assert.deepEqual(resolved, [{ resolved_at: later(2) }]);
  });

  it("is retried, not blamed, when the fault is not in its data", async () => {
    const store = await addStore(db.pool, { nombre: "1" });
    await db.pool.query(`
      set role nexus_owner;
      create or replace function nexus_engine.insight_prueba(tiendas uuid[], as_of timestamptz)
      returns setof nexus_engine.finding language plpgsql stable as $$
      begin raise exception 'disk full' using errcode = '53100'; end $$;
      reset role;`);
    await assert.rejects(reconcile(db.poolAs("nexus_worker"), [store], t0), { code: "53100" });
  });
});
