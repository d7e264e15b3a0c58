import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import type { Pool } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { drainOutbox } from "../support/drain.ts";
import { addProduct, addStore, reconcile, setSettings, setStock } from "../support/fixtures.ts";
import { runJobs } from "../support/jobs.ts";
import { dropTriggers } from "../support/triggers.ts";

/** The nightly check is never run here: it would hide what was missed. */
describe("what a pass does not look at, because it was told", () => {
  let db: TestDatabase;
  let worker: Pool;
  let store: string;
  let product: string;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
  });
  after(() => db.drop());

  beforeEach(async () => {
    store = await addStore(db.pool);
    product = await addProduct(db.pool, store, { stock: 8 });
    await pass();
    assert.equal(await reads(), 0);
  });

  const drain = () => drainOutbox(worker);
  const pass = (tipos = ["PRODUCTO_SIN_STOCK", "STOCK_BAJO"]) =>
    reconcile(worker, [store], new Date(), tipos);
  const alerts = async (of = store) => {
    const { rows } = await db.pool.query(
      "select tipo || ' ' || (extra_data ->> 'stock_actual') as alert from public.insights where tienda_id = $1 and is_active order by 1",
      [of],
    );
    return rows.map(({ alert }) => alert);
  };

  /** How many products a pass reads, or other work. */
  async function reads(
    work = "select nexus_engine.reconcile(array['PRODUCTO_SIN_STOCK', 'STOCK_BAJO'], $1, now())",
    values: unknown[] = [[store]],
  ): Promise<number> {
    const client = await worker.connect();
    const soFar = async () => {
      const { rows } = await client.query<{ n: string }>(
        "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as n from pg_stat_xact_user_tables where relname = 'productos'",
      );
      return Number(rows[0]?.n);
    };
    try {
      await client.query("begin");
      const before = await soFar();
      await client.query(work, values);
      return (await soFar()) - before;
    } finally {
      await client.query("rollback");
      client.release();
    }
  }

  it("is all but the product itself when the drain tells of one, whatever thresholds the store has", async () => {
    for (let n = 0; n < 50; n += 1) await addProduct(db.pool, store, { stock: 300 });
    await setSettings(db.pool, store, { low_stock_threshold: 400 });
    await drain();
    await db.pool.query("delete from nexus_engine.stock_recheck");
    await setStock(db.pool, product, 7);
    const read = await reads("select nexus_engine.drain_outbox(250, 500, false, now())", []);
    assert.ok(read < 25, `${read} products were read`);
    await drain();
    assert.ok((await alerts()).includes("STOCK_BAJO 7"));
  });

  it("is a store but once, though there is more than one reason to look at it", async () => {
    await setSettings(db.pool, store, { low_stock_threshold: 400_000 });
    await setStock(db.pool, product, 7);
    // Two of the same would be refused by note_told, once a check has made the triggers followed meanwhile.
    const { rows } = await worker.query("select nexus_engine.unsettled_stores($1) as stores", [
      [store],
    ]);
    assert.deepEqual(rows[0].stores, [store]);
  });

  it("is nothing of a store where something happened that no drain has come to", async () => {
    await setStock(db.pool, product, 7);
    assert.ok((await reads()) > 0);
    await pass();
    assert.deepEqual(await alerts(), ["STOCK_BAJO 7"]);
    assert.equal(await reads(), 0);
  });

  it("is told of every type by a pass for one of them that empties the outbox", async () => {
    const other = await addProduct(db.pool, store, { stock: 50 });
    await setStock(db.pool, product, 0);
    await setStock(db.pool, other, 5);
    const counts = await pass(["PRODUCTO_SIN_STOCK"]);
    assert.deepEqual(
      counts.map(({ tipo, inserted }) => [tipo, inserted]),
      [["PRODUCTO_SIN_STOCK", 1]],
    );
    assert.deepEqual(await alerts(), ["PRODUCTO_SIN_STOCK 0", "STOCK_BAJO 5"]);
  });

  it("follows a product's unit, and writes nothing when another attribute changes", async () => {
    const message = async () => {
      const { rows } = await db.pool.query(
        "select xmin::text as written, mensaje from public.insights where tienda_id = $1 and is_active",
        [store],
      );
      return rows.map(({ written, mensaje }) => [
        written,
        /quedan (\S+ \S+) de/.exec(mensaje)?.[1],
      ]);
    };
    const change = async (columns: string) => {
      await db.pool.query(`update public.productos set ${columns} where id = $1`, [product]);
      return drain();
    };
    await change("tipo = 'pesable'");
    assert.equal((await message())[0]?.[1], "8 kg");
    await change(`atributos = '{"unidad_medida": "ml"}'`);
    const before = await message();
    assert.equal(before[0]?.[1], "8 ml");
    assert.equal(await change(`atributos = '{"unidad_medida": "ml", "talle": "S"}'`), 0);
    assert.deepEqual(await message(), before);
    await change("atributos = null");
    assert.equal((await message())[0]?.[1], "8 kg");
  });

  it("follows a product's name, its store and its end", async () => {
    const other = await addStore(db.pool);
    const message = async (of: string) => {
      const { rows } = await db.pool.query(
        "select mensaje from public.insights where tienda_id = $1 and is_active",
        [of],
      );
      return rows.map(({ mensaje }) => /«(.*)»/.exec(mensaje)?.[1]);
    };
    await db.pool.query("update public.productos set nombre = 'Yerba' where id = $1", [product]);
    await drain();
    assert.deepEqual(await message(store), ["Yerba"]);
    await db.pool.query("update public.productos set tienda_id = $2 where id = $1", [
      product,
      other,
    ]);
    await drain();
    assert.deepEqual([await message(store), await message(other)], [[], ["Yerba"]]);
    await db.pool.query("delete from public.productos where id = $1", [product]);
    await drain();
    assert.deepEqual(await message(other), []);
    const { rows } = await db.pool.query(
      "select (select count(*)::int from nexus_engine.stock_watch where producto_id = $1) as watched",
      [product],
    );
    assert.deepEqual(rows, [{ watched: 0 }]);
  });

  it("notes no change of a product that has plenty, nor of what nobody is told", async () => {
    const plenty = await addProduct(db.pool, store, { stock: 50 });
    await db.pool.query("update public.productos set nombre = 'Harina' where id = $1", [plenty]);
    await db.pool.query("update public.productos set precio_venta = 7, nombre = nombre");
    await db.pool.query("delete from public.productos where id = $1", [plenty]);
    const { rowCount } = await db.pool.query("select from nexus_engine.stock_event");
    assert.equal(rowCount, 0);
  });

  it("is looked at within the hour after a truncate, whatever is loaded with the triggers off", async () => {
    const { rows } = await db.pool.query(
      "select to_jsonb(p) as row from public.productos p where id = $1",
      [product],
    );
    await db.pool.query("truncate public.productos cascade");
    await drain();
    await pass();
    assert.deepEqual([await alerts(), await reads()], [[], 0]);
    const client = await db.pool.connect();
    try {
      await client.query("set session_replication_role = replica");
      await client.query(
        "insert into public.productos select * from jsonb_populate_record(null::public.productos, $1)",
        [rows[0].row],
      );
    } finally {
      await client.query("reset session_replication_role");
      client.release();
    }
    await db.pool.query(
      "update graphile_worker._private_jobs set run_at = run_at - interval '1 hour'",
    );
    await runJobs(worker);
    await pass();
    assert.deepEqual(await alerts(), ["STOCK_BAJO 8"]);
  });

  it("is looked at again after a truncate", async () => {
    await db.pool.query("truncate public.productos cascade");
    await drain();
    assert.deepEqual(await alerts(), []);
  });

  it("never fails a change of products, whatever is wrong with us", async () => {
    await db.pool.query("alter table nexus_engine.stock_event rename to hidden");
    await db.pool.query("alter table nexus_engine.stock_recheck rename to hidden_too");
    try {
      await db.pool.query("update public.productos set nombre = 'X' where id = $1", [product]);
      await db.pool.query("delete from public.productos where id = $1", [product]);
      await db.pool.query("truncate public.productos cascade");
    } finally {
      await db.pool.query("alter table nexus_engine.hidden rename to stock_event");
      await db.pool.query("alter table nexus_engine.hidden_too rename to stock_recheck");
    }
  });

  it("is looked at again once the store is open again, or the type enabled", async () => {
    const silence: [string, string][] = [
      [
        `update public.tiendas set is_active = false where id = '${store}'`,
        `update public.tiendas set is_active = true where id = '${store}'`,
      ],
      [
        "update nexus_engine.insight_type set enabled = false where tipo = 'STOCK_BAJO'",
        "update nexus_engine.insight_type set enabled = true",
      ],
    ];
    for (const [n, [begin, end]] of silence.entries()) {
      await db.pool.query(begin);
      await setStock(db.pool, product, 5 - n);
      await drain();
      await db.pool.query(end);
      await pass();
      assert.deepEqual(await alerts(), [`STOCK_BAJO ${5 - n}`]);
    }
  });

  it("follows muting and what is no longer muted, at once", async () => {
    for (const [muted, expected] of [
      [["STOCK_BAJO"], []],
      [[], ["STOCK_BAJO 8"]],
    ] as const) {
      await setSettings(db.pool, store, { muted_types: muted });
      await drain();
      assert.deepEqual(await alerts(), expected);
    }
    await setSettings(db.pool, store, { muted_types: ["STOCK_BAJO"] });
    await drain();
    await db.pool.query("delete from nexus_engine.store_settings where tienda_id = $1", [store]);
    await drain();
    assert.deepEqual(await alerts(), ["STOCK_BAJO 8"]);
  });

  it("is nothing of a store that failed when what had happened was told", async () => {
    await setStock(db.pool, product, 3);
    await db.pool.query(
      `alter table public.insights add constraint bad check (tienda_id <> '${store}' or mensaje !~ 'quedan 3') not valid`,
    );
    await pass();
    assert.deepEqual(await alerts(), ["STOCK_BAJO 8"]);
    await db.pool.query("alter table public.insights drop constraint bad");
    await pass();
    assert.deepEqual(await alerts(), ["STOCK_BAJO 3"]);
  });

  it("is nothing after the nightly check, nor after a pass while a trigger was off", async () => {
    const behindOurBack = async (stock: number, between = async () => {}) => {
      await db.pool.query("alter table public.productos disable trigger nexus_stock_update");
      await between();
      await setStock(db.pool, product, stock);
      await db.pool.query("alter table public.productos enable trigger nexus_stock_update");
    };
    await behindOurBack(7);
    await pass();
    assert.deepEqual(await alerts(), ["STOCK_BAJO 8"], "nobody knows");
    await worker.query("select nexus_engine.check_stock_batch(null, 1000, now())");
    await pass();
    assert.deepEqual(await alerts(), ["STOCK_BAJO 7"]);
    await behindOurBack(6, async () => {
      await pass();
    });
    await pass();
    assert.deepEqual(await alerts(), ["STOCK_BAJO 6"]);
  });

  it("is nothing after attach, also where no product is left", async () => {
    const own = await createTestDatabase();
    const shop = await addStore(own.pool);
    await addProduct(own.pool, shop, { stock: 2 });
    const refresh = () => reconcile(own.pool, [shop], new Date(), ["STOCK_BAJO"]);
    await refresh();
    await own.pool.query("select nexus_engine.detach()");
    await own.pool.query("delete from public.productos");
    await own.pool.query("select nexus_engine.attach()");
    assert.equal((await refresh())[0]?.archived, 1);
    await own.drop();
  });

  it("leaves what a store has gained to the drain that has its lock", async () => {
    const next = await addStore(db.pool);
    await db.pool.query("update public.productos set tienda_id = $2 where id = $1", [
      product,
      next,
    ]);
    const other = await worker.connect();
    await other.query("begin");
    await other.query("select nexus_engine.lock_stores($1)", [[next]]);
    const watched = async () => {
      const { rows } = await db.pool.query(
        "select tienda_id from nexus_engine.stock_watch where producto_id = $1",
        [product],
      );
      return rows.map(({ tienda_id }) => tienda_id);
    };
    await worker.query("select nexus_engine.drain_outbox(250, 500, false, now())");
    assert.deepEqual(await watched(), []);
    await other.query("commit");
    other.release();
    await drain();
    assert.deepEqual(await watched(), [next]);
  });

  it("is everything without our triggers, and what happened then is found after attach", async () => {
    await db.pool.query(dropTriggers);
    await setStock(db.pool, product, 6);
    await pass();
    assert.deepEqual(await alerts(), ["STOCK_BAJO 6"]);
    await setStock(db.pool, product, 4);
    await db.pool.query("select nexus_engine.attach()");
    // The job that attach() has enqueued.
    await runJobs(worker);
    await pass();
    assert.deepEqual(await alerts(), ["STOCK_BAJO 4"]);
    assert.equal(await reads(), 0);
  });

  it("tells again what the owner dismissed when a refresh is forced", async () => {
    await db.pool.query("update public.insights set is_active = false where tienda_id = $1", [
      store,
    ]);
    await worker.query("select nexus_engine.forget_dismissals($1, now())", [[store]]);
    await pass();
    assert.deepEqual(await alerts(), ["STOCK_BAJO 8"]);
  });
});
