import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Pool } from "pg";
import { takesWrites } from "../../src/engine.ts";
import job from "../../tasks/purge.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { setSettings } from "../support/fixtures.ts";
import { settings } from "../support/jobs.ts";
import { forgetful, type KeptStores, keptStores } from "../support/kept.ts";

const lasting = ["open_insight", "product_settings", "stock_out", "store_settings"];

/** Night n after the first. */
const night = (n: number) => new Date(Date.parse("2026-03-01T06:15:00Z") + n * 86_400_000);

describe("what is kept about stores and products that the POS does not have", () => {
  let db: TestDatabase;
  let worker: Pool;
  let stores: KeptStores;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
    stores = await keptStores(db.pool, worker);
  });
  after(() => db.drop());

  /** As the task does: until nothing is left to delete. */
  async function purge(at: Date, pool: Pool = worker): Promise<number> {
    for (let deleted = 0; ; ) {
      const { rows } = await pool.query("select nexus_engine.purge($1, '180 days', 2) as n", [at]);
      if (rows[0].n === 0) return deleted;
      deleted += rows[0].n;
    }
  }

  const notes = async () =>
    (await db.pool.query("select from nexus_engine.missing_store")).rowCount;

  const warning = async () =>
    (await worker.query("select nexus_engine.missing_stores_warning() as warning")).rows[0]
      .warning as string | null;

  it("is all that there is by store, or forgets by itself", async () => {
    const { rows } = await db.pool.query(`
      select c.relname as name from pg_attribute a join pg_class c on c.oid = a.attrelid
      where c.relnamespace = 'nexus_engine'::regnamespace and c.relkind = 'r' and a.attname = 'tienda_id'
      order by 1`);
    assert.deepEqual(
      rows.map(({ name }) => name),
      [...stores.relations, ...forgetful].sort(),
    );
  });

  it("stays for a day, and what does not come back by itself for 30", async () => {
    await stores.startOver();
    await stores.addStores(1);
    const store = await stores.addFullStore();
    await stores.deleteStore(store);
    const before = await stores.kept(store);
    await purge(night(0));
    await purge(new Date(night(1).getTime() - 1000));
    assert.deepEqual(await stores.kept(store), before, "missed once, or twice within a day");
    await purge(night(1));
    assert.deepEqual(await stores.kept(store), lasting);
    await purge(night(29));
    assert.deepEqual(await stores.kept(store), lasting);
    await purge(night(30));
    assert.deepEqual(await stores.kept(store), []);
    await purge(night(31));
    assert.equal(await notes(), 0, "nothing is left of it, not even in an outbox");
  });

  it("stays when the store is seen again", async () => {
    await stores.startOver();
    await stores.addStores(1);
    const store = await stores.addFullStore();
    await stores.deleteStore(store);
    await purge(night(0));
    await stores.reopen(store);
    await purge(night(1));
    assert.equal(await notes(), 0);
    await stores.deleteStore(store);
    await purge(night(2));
    const before = await stores.kept(store);
    assert.ok(before.length > lasting.length);
    await purge(new Date(night(3).getTime() - 1000));
    assert.deepEqual(await stores.kept(store), before, "a day from the last time on");
    await purge(night(3));
    assert.deepEqual(await stores.kept(store), lasting);
  });

  it("stays when a policy hides the rows, and purge says so", async () => {
    await stores.startOver();
    await stores.addStores(3);
    const store = await stores.addFullStore();
    const role = `nexus_test_${process.pid}`;
    const client = await db.pool.connect();
    try {
      await client.query(`
        create role ${role}; grant nexus_worker to ${role};
        alter table public.tiendas enable row level security;
        alter table public.insights enable row level security`);
      await client.query(`set role ${role}; set row_security = on`);
      assert.equal((await client.query("select from public.tiendas")).rowCount, 0, "hidden");
      for (const n of [0, 1, 31]) {
        await assert.rejects(
          client.query("select nexus_engine.purge($1, '180 days', 1000)", [night(n)]),
          { code: "42501", message: /row-level security policy for table "tiendas"/ },
        );
      }
      for (const call of [
        "reconcile(null, array[$1::uuid], now())",
        "forget_dismissals(array[$1::uuid], now())",
        "compare_rollups_batch($1, 10, 1, now())",
        "check_stock_batch($1, 10, now())",
      ]) {
        await assert.rejects(client.query(`select nexus_engine.${call}`, [store]), {
          code: "42501",
        });
      }
    } finally {
      await client.query("reset role; reset row_security");
      await client.query(`
        alter table public.tiendas disable row level security;
        alter table public.insights disable row level security`);
      await client.query(`drop role ${role}`);
      client.release();
    }
    assert.deepEqual(await stores.kept(store), [...stores.relations].sort());
    assert.equal(await notes(), 0);
  });

  it("stays when more than a tenth of the stores are gone, until an operator says so", async () => {
    await stores.startOver();
    await stores.addStores(8);
    const gone = [await stores.addFullStore(), await stores.addFullStore()];
    for (const store of gone) await stores.deleteStore(store);
    const before = await Promise.all(gone.map(stores.kept));
    await purge(night(0));
    assert.equal(await warning(), null, "not yet");
    for (const n of [1, 2, 60]) {
      await purge(night(n));
      assert.deepEqual(await Promise.all(gone.map(stores.kept)), before);
    }
    const health = { warn: (about: string, text?: string) => said.set(about, text) };
    const said = new Map<string, string | undefined>();
    await takesWrites(db.poolAs("nexus_server", 1), health);
    assert.match(
      said.get("stores") ?? "",
      /^stores are missing from public\.tiendas.*: select \* from nexus_engine\.missing_store /,
    );
    assert.match((await warning()) ?? "", /^2 of 10 stores have been missing/);
    const call = /select nexus_engine\.confirm_missing_stores\('[^']+'\)/.exec(
      (await warning()) ?? "",
    );
    // One more that is gone since then is none of those that the operator was told of.
    const later = await stores.addFullStore();
    await stores.deleteStore(later);
    await purge(night(61));
    await assert.rejects(worker.query(call?.[0] ?? ""), { code: "42501" });
    const { rows } = await db.pool
      .query(`set role nexus_owner; ${call?.[0]}; reset role`)
      .then(
        (results) =>
          (results as unknown as { rows: Record<string, number>[] }[])[1] ?? { rows: [] },
      );
    for (const time of ["now()", "'infinity'", `'${night(61).toISOString()}'`, "null"]) {
      await assert.rejects(db.pool.query(`select nexus_engine.confirm_missing_stores(${time})`), {
        code: "NX001",
      });
    }
    assert.deepEqual(rows, [{ confirm_missing_stores: 2 }]);
    await purge(new Date(night(61).getTime() + 1000));
    for (const store of gone) assert.deepEqual(await stores.kept(store), []);
    assert.ok((await stores.kept(later)).length > lasting.length);
    await takesWrites(db.poolAs("nexus_server", 1), health);
    assert.equal(said.get("stores"), undefined);
  });

  it("goes of one store in three, of two in twenty, and never of the only one", async () => {
    for (const [there, gone, goes] of [
      [2, 1, true],
      [18, 2, true],
      [17, 2, false],
      [0, 1, false],
    ] as const) {
      await stores.startOver();
      await stores.addStores(there);
      const ids = await stores.addStores(gone);
      for (const id of ids) {
        await db.pool.query(
          "insert into nexus_engine.stock_told (tienda_id, tipo, composition) values ($1, 'X', 1)",
          [id],
        );
      }
      await db.pool.query("delete from public.tiendas where id = any ($1)", [ids]);
      for (const n of [0, 1]) await purge(night(n));
      assert.deepEqual(
        (await Promise.all(ids.map(stores.kept))).flat().length,
        goes ? 0 : gone,
        `${gone} of ${there + gone}`,
      );
    }
  });

  it("is told of by the job, with what an operator can do", async () => {
    await stores.startOver();
    const store = await stores.addFullStore();
    await stores.empty();
    await purge(new Date(Date.now() - 2 * 86_400_000));
    const lines: unknown[][] = [];
    const log = { warn: (...line: unknown[]) => lines.push(line) } as never;
    const transaction = (work: (client: never) => unknown) => work(worker as never) as never;
    const signal = new AbortController().signal;
    const counts = await job.run({
      payload: {},
      lastAttempt: false,
      settings,
      signal,
      log,
      transaction,
    });
    const found = { missingStores: 1, givenUp: 0 };
    assert.deepEqual(counts, { deleted: 0, ...found, jobs: 0 });
    assert.deepEqual(lines, [[found, await warning()]]);
    assert.match(
      (await warning()) ?? "",
      /^1 of 1 stores have been missing .* select nexus_engine\.confirm_missing_stores/,
    );
    assert.ok((await stores.kept(store)).length > lasting.length);
  });

  it("stays when the look waits for another session, as at the purge of another worker", async () => {
    await stores.startOver();
    await stores.addStores(1);
    const store = await stores.addFullStore();
    await stores.deleteStore(store);
    for (const n of [0, 1]) await purge(night(n));
    await stores.reopen(store);
    await setSettings(db.pool, store, { low_stock_threshold: 9 });
    const before = await stores.kept(store);
    assert.ok(before.includes("stock_recheck"));
    const other = await worker.connect();
    await other.query("begin; select from nexus_engine.missing_store for update");
    await worker.query("select nexus_engine.purge($1, '180 days', 1000)", [night(40)]);
    await other.query("commit");
    other.release();
    assert.deepEqual(await stores.kept(store), before);
    await purge(night(40));
    assert.deepEqual([await stores.kept(store), await notes()], [before, 0]);
  });

  it("is looked for by functions that a policy hides nothing from, whoever calls them", async () => {
    const { rows } = await db.pool.query(
      "select proname as name from pg_proc where 'row_security=off' = any (proconfig) and pronamespace = 'nexus_engine'::regnamespace",
    );
    const names = rows.map(({ name }) => name);
    for (const name of [
      "check_rollups",
      "check_stock_batch",
      "compare_rollups_batch",
      "drain_outbox",
      "forget_dismissals",
      "look_at_pos_clock",
      "note_product_insights",
      "purge",
      "reconcile",
      "roll_up_batch",
    ]) {
      assert.ok(names.includes(name), name);
    }
  });
});
