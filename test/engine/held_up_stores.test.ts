import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { isDeepStrictEqual } from "node:util";
import type { Pool, PoolClient } from "pg";
import { createLog } from "../../src/log.ts";
import { startHeldUpReports } from "../../src/worker/held-up.ts";
import { startStockDrain } from "../../src/worker/stock-drain.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { drainOutbox } from "../support/drain.ts";
import { addProduct, addSale, addStore, setSettings, setStock } from "../support/fixtures.ts";
import { jobsLeft, runJobs } from "../support/jobs.ts";
import { until } from "../support/until.ts";

/** What another session may keep locked of the store $1, and what is not in the way of anything. */
const locks: Record<string, string> = {
  "its insights, for update": "select from public.insights where tienda_id = $1 for update",
  "its insights, by an update": "update public.insights set mensaje = mensaje where tienda_id = $1",
  "its insights, by a delete": "delete from public.insights where tienda_id = $1",
  "its row of tiendas, for update": "select from public.tiendas where id = $1 for update",
  "its products, for update": "select from public.productos where tienda_id = $1 for update",
  "its tickets, for update": "select from public.ventas where tienda_id = $1 for update",
  "the reconciler's lock":
    "select pg_advisory_xact_lock(nexus_engine.store_lock($1::uuid)) where true",
  ...Object.fromEntries(
    [
      "open_insight",
      "stock_event",
      "stock_watch",
      "stock_out",
      "stock_told",
      "stock_recheck",
      "store_settings",
      "refresh_request",
    ].map((table) => [
      `its rows of ${table}`,
      `select from nexus_engine.${table} where tienda_id = $1 for update`,
    ]),
  ),
};

describe("a store of which another session keeps something locked", () => {
  let db: TestDatabase;
  let worker: Pool;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
  });
  after(() => db.drop());

  /** What is active of a store: type and stock. */
  const told = async (store: string) => {
    const { rows } = await db.pool.query<{ told: string }>(
      `select tipo || ' ' || (extra_data ->> 'stock_actual') as told from public.insights
       where tienda_id = $1 and is_active order by 1`,
      [store],
    );
    return rows.map((row) => row.told);
  };
  const statusOf = async (request: string) =>
    (
      await db.pool.query("select status from nexus_engine.refresh_request where id = $1", [
        request,
      ])
    ).rows[0].status;
  const request = async (store: string) =>
    (await db.pool.query("select id from nexus_engine.request_refresh($1)", [store])).rows[0]
      .id as string;
  /** A store with a low product, one that is out, which is told, and one that is neither. */
  const addShop = async (): Promise<Shop> => {
    const store = await addStore(db.pool);
    const [low, out, plenty] = [
      await addProduct(db.pool, store, { stock: 5 }),
      await addProduct(db.pool, store, { stock: 0 }),
      await addProduct(db.pool, store, { stock: 50 }),
    ];
    await addSale(db.pool, store, { fecha: new Date(), total: 5 });
    await drainOutbox(worker);
    await worker.query("select nexus_engine.reconcile(null, $1, now())", [[store]]);
    return { store, low, out, plenty };
  };
  const addShops = (count: number) => Promise.all(Array.from({ length: count }, addShop));
  /** While `statement` holds its locks on `store`, in a transaction that is then rolled back. */
  const whileLocked = async (store: string | undefined, statement: string, act: () => unknown) => {
    const holder: PoolClient = await db.pool.connect();
    await holder.query("begin");
    await holder.query(statement, store ? [store] : []);
    try {
      return await act();
    } finally {
      await holder.query("rollback");
      holder.release();
    }
  };
  const heldUp = async () => {
    const { rows } = await db.pool.query<{ tienda_id: string; work: string }>(
      "select tienda_id, work from nexus_engine.store_held_up",
    );
    return rows;
  };
  /** As when the pause is over. */
  const tryAgain = async () => {
    await db.pool.query("update nexus_engine.store_held_up set retry_at = now()");
    await db.pool.query("update graphile_worker._private_jobs set run_at = now()");
    await drainOutbox(worker);
    await runJobs(worker);
  };

  it("delays no other, whatever it is that is locked, and is told once it is not", async () => {
    const kinds = Object.entries(locks);
    const held = await addShops(kinds.length);
    const free = await addShop();
    for (const { store, low, out, plenty } of [...held, free]) {
      await setSettings(db.pool, store, { lead_time_days: 3, low_stock_threshold: 10 });
      await setStock(db.pool, low, 2);
      await setStock(db.pool, out, 3);
      await setStock(db.pool, plenty, 9);
    }
    const requests = await Promise.all(held.map(({ store }) => request(store)));
    const ofFree = await request(free.store);
    await db.pool.query("select graphile_worker.add_job('refresh_stores', $1)", [
      JSON.stringify({ tiendas: [...held, free].map(({ store }) => store) }),
    ]);
    const all = ["STOCK_BAJO 2", "STOCK_BAJO 3", "STOCK_BAJO 9"];

    const work: Promise<unknown>[] = [];
    const drain = startStockDrain(worker, createLog("silent"));
    const lockAll = kinds.reduceRight<() => Promise<unknown>>(
      (next, [, statement], n) =>
        () =>
          whileLocked(held[n]?.store, statement, next),
      async () => {
        await until("the other store's alerts", async () =>
          isDeepStrictEqual(await told(free.store), all),
        );
        work.push(runJobs(worker));
        await until("its refresh", async () => (await statusOf(ofFree)) === "succeeded");
        // Nobody waits for what is locked.
        await Promise.all(work);
      },
    );
    await lockAll().finally(() => Promise.all([...work, drain.stop()]));

    await tryAgain();
    for (const [n, [what]] of kinds.entries()) {
      assert.deepEqual(await told(held[n]?.store ?? ""), all, what);
      assert.equal(await statusOf(requests[n] ?? ""), "succeeded", what);
    }
    assert.deepEqual(await jobsLeft(db.pool), []);
    assert.deepEqual(await heldUp(), []);
  });

  it("is the only one that a deadlock undoes, also of much work", async () => {
    const [a, b, c] = (await addShops(3)).map(({ store }) => store);
    await db.pool.query(
      `create function public.deadlock_on(stores uuid[], one uuid) returns jsonb language plpgsql as $$
       begin
         insert into nexus_engine.stock_recheck (tienda_id) select unnest(stores);
         perform pg_sleep(0.2 * cardinality(stores));
         if one = any (stores) then raise exception 'deadlock' using errcode = '40P01'; end if;
         return to_jsonb(cardinality(stores));
       end $$`,
    );
    const { rows } = await db.pool.query(
      "select * from nexus_engine.for_stores('stock', format('select public.deadlock_on($1, %L)', $2::uuid), $1, now())",
      [[a, b, c], b],
    );
    assert.deepEqual(rows, [{ results: [1, 1], held_up: [b], unfinished: [] }]);
    const { rows: done } = await db.pool.query(
      "select tienda_id as id from nexus_engine.stock_recheck where tienda_id = any ($1)",
      [[a, b, c]],
    );
    assert.deepEqual(done.map(({ id }) => id).sort(), [a, c].sort());
    await db.pool.query("delete from nexus_engine.store_held_up");
  });

  it("is found among many, put back for longer each time, and told of once", async () => {
    const shops = await addShops(9);
    const held = [shops[2], shops[7]] as [Shop, Shop];
    for (const { low } of shops) await setStock(db.pool, low, 2);
    const pauses: number[] = [];
    const statement = "select from public.insights where tienda_id = any ($1) for update";
    await whileLocked(`{${held.map(({ store }) => store)}}`, statement, async () => {
      for (let n = 0; n < 4; n += 1) {
        await drainOutbox(worker);
        const { rows } = await db.pool.query<{ pause: number }>(
          `select extract(epoch from retry_at - clock_timestamp())::float8 as pause, attempts
           from nexus_engine.store_held_up where work = 'stock' and tienda_id = $1`,
          [held[0].store],
        );
        pauses.push(2 ** Math.ceil(Math.log2(rows[0]?.pause ?? Number.NaN)));
        await db.pool.query("update nexus_engine.store_held_up set retry_at = now()");
      }
      assert.deepEqual(pauses, [1, 2, 4, 8]);
      assert.deepEqual(
        new Set((await heldUp()).map(({ tienda_id }) => tienda_id)),
        new Set(held.map(({ store }) => store)),
      );
      for (const { store } of shops.filter((shop) => !held.includes(shop))) {
        assert.ok((await told(store)).includes("STOCK_BAJO 2"));
      }
      await db.pool.query(
        "update nexus_engine.store_held_up set attempts = 40, retry_at = now() - interval '1 second'",
      );
      await drainOutbox(worker);
      const { rows } = await db.pool.query(
        "select distinct round(extract(epoch from retry_at - clock_timestamp()))::int as pause from nexus_engine.store_held_up",
      );
      assert.deepEqual(rows, [{ pause: 30 }]);
    });
    await tryAgain();
    for (const { store } of held) {
      assert.deepEqual(await told(store), ["PRODUCTO_SIN_STOCK 0", "STOCK_BAJO 2"]);
    }
    assert.deepEqual(await heldUp(), []);
  });

  it("is not to blame when a whole table is locked, after which everything is told", async () => {
    const shops = await addShops(3);
    for (const { low } of shops) await setStock(db.pool, low, 2);
    const requests = await Promise.all(shops.map(({ store }) => request(store)));
    await whileLocked(
      undefined,
      "lock table public.insights in access exclusive mode",
      async () => {
        await assert.rejects(drainOutbox(worker), { code: "55P03" });
        await runJobs(worker);
        const { rows } = await db.pool.query(
          "select from nexus_engine.store_held_up where work = 'stock'",
        );
        assert.deepEqual(rows, []);
      },
    );
    await tryAgain();
    for (const { store } of shops) {
      assert.deepEqual(await told(store), ["PRODUCTO_SIN_STOCK 0", "STOCK_BAJO 2"]);
    }
    assert.deepEqual(
      await Promise.all(requests.map(statusOf)),
      requests.map(() => "succeeded"),
    );
    assert.deepEqual(await jobsLeft(db.pool), []);
  });

  it("is the only one while an index is built on a table that we only read", async () => {
    const [a, b] = (await addShops(2)) as [Shop, Shop];
    for (const { low } of [a, b]) await setStock(db.pool, low, 2);
    await whileLocked(undefined, "lock table public.ventas, public.productos in share mode", () =>
      whileLocked(
        a.store,
        "select from public.insights where tienda_id = $1 for update",
        async () => {
          await drainOutbox(worker);
          assert.deepEqual(await told(b.store), ["PRODUCTO_SIN_STOCK 0", "STOCK_BAJO 2"]);
        },
      ),
    );
    await tryAgain();
    assert.deepEqual(await told(a.store), ["PRODUCTO_SIN_STOCK 0", "STOCK_BAJO 2"]);
  });

  it("delays no other while a start waits to make our triggers", async () => {
    const [held, free] = [await addShop(), await addShop()];
    for (const { low } of [held, free]) await setStock(db.pool, low, 2);
    const start = "lock table nexus_engine.detached in share row exclusive mode";
    await whileLocked(undefined, start, () =>
      whileLocked(held.store, locks["its insights, for update"] as string, async () => {
        await drainOutbox(worker);
        assert.deepEqual(await told(free.store), ["PRODUCTO_SIN_STOCK 0", "STOCK_BAJO 2"]);
      }),
    );
    await tryAgain();
    assert.deepEqual(await told(held.store), ["PRODUCTO_SIN_STOCK 0", "STOCK_BAJO 2"]);
  });

  it("keeps the force of its request while it is put back", async () => {
    const { store } = await addShop();
    await db.pool.query("update public.insights set is_active = false where tienda_id = $1", [
      store,
    ]);
    await db.pool.query("select nexus_engine.request_refresh($1, null, true)", [store]);
    await whileLocked(
      store,
      "select from nexus_engine.open_insight where tienda_id = $1 for update",
      () => runJobs(worker),
    );
    assert.deepEqual(await told(store), []);
    await tryAgain();
    assert.deepEqual(await told(store), ["PRODUCTO_SIN_STOCK 0", "STOCK_BAJO 5"]);
  });

  it("is rolled up and checked later, the others now", async () => {
    const [a, b] = (await addShops(2)) as [Shop, Shop];
    const days = async (store: string) =>
      (await db.pool.query("select from nexus_engine.store_day where tienda_id = $1", [store]))
        .rowCount;
    const sell = (store: string) =>
      addSale(db.pool, store, { fecha: new Date(Date.now() - 3 * 86_400_000), total: 7 });
    const rollUp = async () => {
      await db.pool.query("update nexus_engine.store_held_up set retry_at = now()");
      await worker.query("select nexus_engine.note_horizon()");
      for (let looked = 1; looked > 0; ) {
        const { rows } = await worker.query(
          "select stores from nexus_engine.roll_up_batch(100, '{}')",
        );
        looked = rows[0].stores;
      }
    };
    // The horizon, which the lock below holds up as well.
    await rollUp();
    for (const { store } of [a, b]) await sell(store);
    const mark = "select from nexus_engine.sale_mark where tienda_id = $1 for update";
    await whileLocked(a.store, mark, async () => {
      await rollUp();
      assert.deepEqual([await days(a.store), await days(b.store)], [0, 1]);
    });
    await rollUp();
    assert.equal(await days(a.store), 1);

    // Behind the triggers' back.
    await db.pool.query("delete from nexus_engine.store_day where tienda_id = any ($1)", [
      [a.store, b.store],
    ]);
    await db.pool.query("delete from nexus_engine.stock_watch where tienda_id = $1", [b.store]);
    await whileLocked(
      a.store,
      "select from nexus_engine.rollup_state where tienda_id = $1 for update",
      async () => {
        await db.pool.query(
          "insert into nexus_engine.sale_mark (tienda_id, at) values ($1, '-infinity')",
          [a.store],
        );
        await worker.query("select nexus_engine.compare_rollups_batch(null, 1000, 1, now())");
        assert.deepEqual([await days(a.store), await days(b.store)], [0, 1]);
      },
    );
    await rollUp();
    assert.equal(await days(a.store), 1);
    await whileLocked(
      a.store,
      "select from nexus_engine.stock_told where tienda_id = $1 for update",
      async () => {
        const { rows } = await worker.query(
          "select repaired from nexus_engine.check_stock_batch(null, 1000, now())",
        );
        assert.equal(rows[0].repaired, 2);
      },
    );
    const { rowCount } = await db.pool.query(
      "select from nexus_engine.stock_recheck where tienda_id = $1",
      [a.store],
    );
    assert.equal(rowCount, 1, "the drain looks at it");
    await tryAgain();
  });

  it("does not keep the rest from being purged", async () => {
    const gone = "00000000-0000-4000-8000-00000000dead";
    for (const table of [
      "stock_told (tienda_id, tipo, composition) values ($1, 'X', 1)",
      "sale_mark (tienda_id, at) values ($1, now())",
    ]) {
      await db.pool.query(`insert into nexus_engine.${table}`, [gone]);
    }
    const left = async () =>
      (
        await db.pool.query(
          "select (select count(*) from nexus_engine.stock_told where tienda_id = $1)::int as told, (select count(*) from nexus_engine.sale_mark where tienda_id = $1)::int as marks",
          [gone],
        )
      ).rows[0];
    const purge = () => worker.query("select nexus_engine.purge(now(), interval '90 days', 1000)");
    await whileLocked(
      gone,
      "select from nexus_engine.stock_told where tienda_id = $1 for update",
      async () => {
        await purge();
        assert.deepEqual(await left(), { told: 1, marks: 0 });
      },
    );
    await purge();
    assert.deepEqual(await left(), { told: 0, marks: 0 });
  });

  it("is named in the log with the session in front, once, until it is served", async () => {
    const { store, low } = await addShop();
    await setStock(db.pool, low, 2);
    const lines: Record<string, unknown>[] = [];
    const log = { warn: (line: Record<string, unknown>) => lines.push(line) };
    const times = { afterMs: 0, againMs: 60_000, everyMs: 20 };
    const holder = await db.pool.connect();
    await holder.query("begin; set application_name = 'the POS'");
    const { rows } = await holder.query("select pg_backend_pid() as pid");
    await holder.query("select from public.insights where tienda_id = $1 for update", [store]);
    await drainOutbox(worker);
    const reports = startHeldUpReports(worker, log as never, undefined, times);
    await until("the line", () => lines.length > 0);
    await holder.query("rollback; reset application_name");
    holder.release();
    assert.deepEqual([lines[0]?.["tienda"], lines[0]?.["work"]], [store, "stock"]);
    const sessions = lines[0]?.["sessions"] as Record<string, unknown>[] | undefined;
    const { pid, application, login } = sessions?.[0] ?? {};
    assert.deepEqual([pid, application, login], [rows[0].pid, "the POS", "postgres"]);
    await db.pool.query("update nexus_engine.store_held_up set told_at = null");
    await until("it is served", async () => (await heldUp()).length === 0);
    await reports.stop();
    assert.deepEqual(await told(store), ["PRODUCTO_SIN_STOCK 0", "STOCK_BAJO 2"]);
    assert.equal(lines.length, 1);
  });
});

type Shop = { store: string; low: string; out: string; plenty: string };
