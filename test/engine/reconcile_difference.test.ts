import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Pool } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import {
  addProduct,
  addStore,
  type ReconcileRow,
  reconcile,
  setSettings,
  setStock,
} from "../support/fixtures.ts";

const asOf = "2026-11-24T15:00:00Z";
const stockTypes = ["PRODUCTO_SIN_STOCK", "STOCK_BAJO"];

/** inserted, updated, archived, failed of each type. */
const counts = (rows: ReconcileRow[]) =>
  Object.fromEntries(
    rows.map(({ tipo, inserted, updated, archived, failed }) => [
      tipo,
      [inserted, updated, archived, failed],
    ]),
  );

describe("what the reconciler composes and writes", () => {
  let db: TestDatabase;
  let pool: Pool;
  let worker: Pool;
  before(async () => {
    db = await createTestDatabase();
    pool = db.pool;
    worker = db.poolAs("nexus_worker", 4);
    // Counts the quantities that messages are composed with, of which STOCK_BAJO has two. Stable and
    // opaque: a call that is not needed can be left out, one that is needed is counted.
    await pool.query(`
      create sequence nexus_engine.composed; grant usage, select on sequence nexus_engine.composed to nexus_worker;
      alter function nexus_engine.es_amount(numeric, text) rename to es_amount_itself;
      set role nexus_owner;
      create function nexus_engine.es_amount(value numeric, unidad text) returns text
      language plpgsql stable parallel safe as $$
      begin perform nextval('nexus_engine.composed'); return nexus_engine.es_amount_itself(value, unidad); end $$;
      reset role;`);
  });
  after(() => db.drop());

  const run = (stores: string[], tipos = stockTypes) => reconcile(worker, stores, asOf, tipos);
  const composedBy = async (work: () => Promise<unknown>): Promise<number> => {
    await pool.query("select setval('nexus_engine.composed', 1)");
    await work();
    const { rows } = await pool.query<{ n: number }>(
      "select last_value::int - 1 as n from nexus_engine.composed",
    );
    return rows[0]?.n ?? Number.NaN;
  };
  /** Every version of what stands about these stores, by table. */
  const written = async (table: string, stores: string[]) => {
    const { rows } = await pool.query(
      `select t.xmin::text, t.ctid::text from ${table} t where tienda_id = any ($1) order by 1, 2`,
      [stores],
    );
    return rows;
  };
  const messages = async (store: string) => {
    const { rows } = await pool.query<{ mensaje: string }>(
      "select mensaje from public.insights where tienda_id = $1 and is_active order by mensaje",
      [store],
    );
    return rows.map(({ mensaje }) => mensaje);
  };
  const lowStore = async (stocks: number[]) => {
    const store = await addStore(pool);
    const ids = await Promise.all(stocks.map((stock) => addProduct(pool, store, { stock })));
    return { store, ids };
  };

  it("composes only what differs", async () => {
    const shops = await Promise.all([1, 2, 3].map(() => lowStore([1, 2, 4, 6, 9])));
    const stores = shops.map(({ store }) => store);
    assert.equal(await composedBy(() => run(stores)), 30);
    assert.equal(await composedBy(() => run(stores)), 0);
    await setStock(pool, shops[1]?.ids[2] as string, 5);
    let rows: ReconcileRow[] = [];
    assert.equal(
      await composedBy(async () => {
        rows = await run(stores);
      }),
      2,
    );
    assert.deepEqual(counts(rows)["STOCK_BAJO"], [0, 1, 0, 0]);
    await setSettings(pool, stores[2] as string, { low_stock_threshold: 12 });
    assert.equal(await composedBy(() => run(stores)), 10, "every message says the threshold");
  });

  it("rewrites no insight, nor brings back a dismissed one, when only the hashes are others", async () => {
    const { store } = await lowStore([0, 2, 4, 9]);
    await run([store]);
    await pool.query(
      "update public.insights set is_active = false where tienda_id = $1 and mensaje like '%Te quedan 9%'",
      [store],
    );
    await pool.query(
      "update nexus_engine.open_insight set content_hash = content_hash + 1 where tienda_id = $1",
      [store],
    );
    const before = await written("public.insights", [store]);
    assert.equal(before.length, 4);
    assert.deepEqual(counts(await run([store])), {
      PRODUCTO_SIN_STOCK: [0, 0, 0, 0],
      STOCK_BAJO: [0, 0, 0, 0],
    });
    assert.deepEqual(await written("public.insights", [store]), before);
    const remembered = await written("nexus_engine.open_insight", [store]);
    assert.equal(await composedBy(() => run([store])), 0, "the new hashes are remembered");
    assert.deepEqual(await written("nexus_engine.open_insight", [store]), remembered);
  });

  it("neither composes nor rewrites an insight whose inputs changed below what it says", async () => {
    const { store, ids } = await lowStore([4]);
    await run([store]);
    const before = await written("public.insights", [store]);
    await setStock(pool, ids[0] as string, 4.0001);
    assert.equal(await composedBy(() => run([store])), 0);
    assert.deepEqual(await written("public.insights", [store]), before);
  });

  it("tells what a new text of the type's function says", async () => {
    const { store } = await lowStore([4, 0]);
    await run([store]);
    const { rows } = await pool.query<{ text: string }>(
      "select pg_get_functiondef('nexus_engine.insight_stock_bajo(uuid[], timestamptz, uuid[])'::regprocedure) as text",
    );
    const text = rows[0]?.text ?? "";
    const replaced = (body: string) => pool.query(`set role nexus_owner; ${body}; reset role`);
    await replaced(text.replace("reponé pronto", "reponé ya"));
    try {
      assert.deepEqual(counts(await run([store])), {
        PRODUCTO_SIN_STOCK: [0, 0, 0, 0],
        STOCK_BAJO: [0, 1, 0, 0],
      });
      assert.match((await messages(store))[0] ?? "", /reponé ya/);
    } finally {
      await replaced(text);
    }
    await run([store]);
    assert.match((await messages(store))[0] ?? "", /reponé pronto/);
  });

  it("tells what a new text of the engine's functions says", async () => {
    const { store } = await lowStore([4]);
    await run([store]);
    // As a start does it with a file whose text changed: the function, and the file's hash.
    const install = (word: string) =>
      pool.query(`
        begin;
        set local role nexus_owner;
        create or replace function nexus_engine.es_amount_itself(value numeric, unidad text)
        returns text language sql stable parallel safe as $$ select translate(value::text, '.', ',') || ' ${word}' $$;
        update nexus_engine.migration set sha256 = '${word}' where name = 'engine/text_es_ar.sql';
        commit;`);
    await install("piezas");
    assert.deepEqual(counts(await run([store]))["STOCK_BAJO"], [0, 1, 0, 0]);
    assert.match((await messages(store))[0] ?? "", /Te quedan 4 piezas/);
  });

  it("composes again when an operator changes the type's params", async () => {
    const { store } = await lowStore([4]);
    await run([store]);
    const set = (params: object) =>
      pool.query("update nexus_engine.insight_type set params = $1 where tipo = 'STOCK_BAJO'", [
        params,
      ]);
    await set({ tono: "formal" });
    assert.equal(await composedBy(() => run([store])), 2);
    assert.equal(await composedBy(() => run([store])), 0);
    await set({});
  });

  it("tells what is so at its second look, and archives only what is gone by then", async () => {
    const { store, ids } = await lowStore([8, 8, 8, 50, 50]);
    const [falls, recovers, returns, fresh, fleeting] = ids as [
      string,
      string,
      string,
      string,
      string,
    ];
    await run([store]);
    const between: [string, number][] = [
      [falls, 2],
      [recovers, 60],
      [returns, 8],
      [fresh, 3],
      [fleeting, 70],
    ];
    await setStock(pool, falls, 6);
    await setStock(pool, recovers, 5);
    await setStock(pool, returns, 70);
    await setStock(pool, fresh, 9);
    await setStock(pool, fleeting, 9);
    await pool.query("select nexus_engine.update_stock_watch(array[$1::uuid], now())", [store]);
    const { rows } = await worker.query<{ difference: object }>(
      `select to_jsonb(d) as difference
       from nexus_engine.difference('STOCK_BAJO', array[$1::uuid], array[$1::uuid], now(), nexus_engine.composition('STOCK_BAJO')) d`,
      [store],
    );
    for (const [id, stock] of between) await setStock(pool, id, stock);
    await pool.query("select nexus_engine.update_stock_watch(array[$1::uuid], now())", [store]);
    const applied = await worker.query(
      `select a.inserted, a.updated, a.archived
       from (select nexus_engine.composition('STOCK_BAJO') as composition) c
       cross join lateral jsonb_to_record($1) d (tiendas uuid[], content_hashes bigint[], remembered nexus_engine.finding[])
       cross join lateral nexus_engine.apply_difference('STOCK_BAJO', nexus_engine.compose_findings(
         'STOCK_BAJO', d.tiendas, now(), c.composition, d.content_hashes, d.remembered), now()) a`,
      [rows[0]?.difference],
    );
    assert.deepEqual(applied.rows, [{ inserted: 0, updated: 1, archived: 1 }]);
    assert.equal((await messages(store)).length, 2);
    assert.match((await messages(store)).join(), /Te quedan 8.*Te quedan 2 /);
    assert.deepEqual(counts(await run([store]))["STOCK_BAJO"], [1, 0, 0, 0], "the new one, later");
    assert.equal(await composedBy(() => run([store])), 0);
  });

  it("takes a type without content_key: composes it each time, writes what differs", async () => {
    await pool.query(`
      set role nexus_owner;
      insert into nexus_engine.insight_type (tipo, kind, title, description) values ('PRUEBA', 'state', 'x', 'x');
      create function nexus_engine.insight_prueba(tiendas uuid[], as_of timestamptz)
      returns setof nexus_engine.finding language sql stable as $$
        select t.id, w.word, 'MEDIA', 'Hay ' || w.word, jsonb_build_object('palabra', w.word), null::bigint
        from public.tiendas t cross join lateral regexp_split_to_table(t.nombre, ' ') w (word)
        where t.id = any (tiendas) and t.nombre like 'hay%'
      $$;
      reset role;`);
    const store = await addStore(pool, { nombre: "hay pan" });
    const pass = async (nombre: string) => {
      await pool.query("update public.tiendas set nombre = $2 where id = $1", [store, nombre]);
      return counts(await run([store], ["PRUEBA"]))["PRUEBA"];
    };
    assert.deepEqual(await pass("hay pan"), [2, 0, 0, 0]);
    const before = [
      await written("public.insights", [store]),
      await written("nexus_engine.open_insight", [store]),
    ];
    assert.deepEqual(await pass("hay pan"), [0, 0, 0, 0]);
    assert.deepEqual(
      [
        await written("public.insights", [store]),
        await written("nexus_engine.open_insight", [store]),
      ],
      before,
    );
    assert.deepEqual(await pass("hay vino"), [1, 0, 1, 0]);
    await pool.query("update public.insights set is_active = false where tienda_id = $1", [store]);
    assert.deepEqual(await pass("hay vino"), [0, 0, 0, 0], "dismissed");
    assert.deepEqual(await pass("hoy nada"), [0, 0, 0, 0]);
    assert.deepEqual(await written("nexus_engine.open_insight", [store]), []);
  });

  it("never tells a store of a product that SQL moved to another one", async () => {
    const { store: old, ids } = await lowStore([4]);
    const { store: next } = await lowStore([60]);
    await run([old, next]);
    await pool.query("update public.productos set tienda_id = $2 where id = $1", [ids[0], next]);
    assert.deepEqual(counts(await run([old, next]))["STOCK_BAJO"], [1, 0, 1, 0]);
    assert.deepEqual([await messages(old), (await messages(next)).length], [[], 1]);
    await pool.query("update public.productos set tienda_id = $2 where id = $1", [ids[0], old]);
    await run([old, next]);
    await pool.query("update public.productos set tienda_id = $2 where id = $1", [ids[0], next]);
    assert.deepEqual(counts(await run([old]))["STOCK_BAJO"], [0, 0, 1, 0]);
    assert.deepEqual(counts(await run([next]))["STOCK_BAJO"], [1, 0, 0, 0]);
    await run([old, next]);
    assert.deepEqual([await messages(old), (await messages(next)).length], [[], 1]);
  });

  it("understands a call of the release before that is under way", async () => {
    const { store, ids } = await lowStore([4, 7]);
    await run([store]);
    await setStock(pool, ids[0] as string, 3);
    const { rows } = await worker.query(
      `select a.inserted, a.updated, a.archived from nexus_engine.apply_findings('STOCK_BAJO', array[$1::uuid],
         (select array_agg(f) from nexus_engine.insight_stock_bajo(array[$1::uuid], now()) f), now()) a`,
      [store],
    );
    assert.deepEqual(rows, [{ inserted: 0, updated: 1, archived: 0 }]);
    assert.deepEqual(counts(await run([store]))["STOCK_BAJO"], [0, 0, 0, 0]);
  });
});
