import assert from "node:assert/strict";
import { createConnection, createServer } from "node:net";
import { afterEach, beforeEach, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { pino } from "pino";
import { keepAttaching } from "../../src/database/attach.ts";
import { connect } from "../../src/database/client.ts";
import { migrate } from "../../src/database/migrate.ts";
import { preparationLock } from "../../src/database/preparation-lock.ts";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, reconcile, setStock } from "../support/fixtures.ts";
import { jobsLeft, runJobs } from "../support/jobs.ts";
import { dropTriggers } from "../support/triggers.ts";
import { until } from "../support/until.ts";

const log = createLog("silent");
const locks = { migration: 300, triggers: 300, index: 400 };
/** In the background. */
const eagerly = { firstMs: 10, mostMs: 20, triggers: 300, index: 400 };
const index = "nexus_ventas_tienda_fecha";

describe("a start that meets a long transaction of the POS", () => {
  let db: TestDatabase;
  /** The POS in the middle of something, with locks on productos and ventas. */
  let pos: Client;

  beforeEach(async () => {
    db = await createTestDatabase();
    pos = await connect(db.url, "pos-report");
    await pos.query("begin");
  });
  afterEach(async () => {
    await pos.end();
    await db.drop();
  });

  const triggers = async () =>
    (
      await db.pool.query(
        "select from pg_trigger where tgname like 'nexus\\_%' and tgrelid::regclass::text in ('productos', 'ventas', 'detalles_venta')",
      )
    ).rowCount;
  const indexes = async () =>
    (
      await db.pool.query(
        "select indisvalid as valid from pg_index where indexrelid = to_regclass($1)",
        [`public.${index}`],
      )
    ).rows;

  /** How long a sale waits at most, while work goes on. */
  async function longestSale(product: string, work: Promise<unknown>): Promise<number> {
    let going = true;
    const ended = work.finally(() => {
      going = false;
    });
    let longest = 0;
    for (let stock = 50; going; stock += 1) {
      const began = performance.now();
      await setStock(db.pool, product, stock);
      longest = Math.max(longest, performance.now() - began);
      await sleep(5);
    }
    await ended;
    return longest;
  }

  /** What is logged from level warn on. */
  function hearing() {
    const lines: string[] = [];
    return { lines, heard: pino({ level: "warn" }, { write: (line) => void lines.push(line) }) };
  }

  it("serves without its triggers, says who is in front, holds up no sale, and goes on trying", async () => {
    const store = await addStore(db.pool);
    const [sold, held] = [await addProduct(db.pool, store), await addProduct(db.pool, store)];
    await db.pool.query(dropTriggers);
    await pos.query("update public.productos set stock_actual = 7 where id = $1", [held]);
    const { rows } = await pos.query("select pg_backend_pid() as pid");

    const { lines, heard } = hearing();
    const longest = await longestSale(
      sold,
      prepareDatabase(db.url, heard, { locks }).then((attached) => assert.equal(attached, false)),
    );
    assert.ok(longest < 390, `a sale waited ${longest} ms`);
    assert.equal(await triggers(), 0);
    const inFront = () => JSON.parse(lines.at(-1) ?? "{}").inUseBy[0];
    assert.equal(inFront().pid, rows[0].pid);
    assert.equal(inFront().application, "pos-report");

    await pos.query("rollback; begin; lock table public.insights in row exclusive mode");
    const attaching = keepAttaching(db.url, heard, eagerly);
    await until("it has tried again", async () => lines.length > 1);
    assert.equal(inFront()?.pid, rows[0].pid);
    assert.equal(await triggers(), 0);
    await setStock(db.pool, sold, 4);
    await reconcile(db.pool, [store], new Date(), ["STOCK_BAJO"]);
    const { rowCount } = await db.pool.query("select from public.insights where is_active");
    assert.equal(rowCount, 1, "meanwhile every product is looked at");

    await pos.query("commit");
    await attaching.ended;
    assert.equal(await triggers(), 8);
    assert.deepEqual(await indexes(), [{ valid: true }]);
    assert.equal(await prepareDatabase(db.url, log, { locks }), true);
  });

  it("says who is in front on whichever table that gets a trigger", async () => {
    await db.pool.query(dropTriggers);
    await pos.query("lock table public.insights in row exclusive mode");
    const { lines, heard } = hearing();
    assert.equal(await prepareDatabase(db.url, heard, { locks }), false);
    assert.equal(JSON.parse(lines[0] ?? "{}").inUseBy[0]?.application, "pos-report");
  });

  it("does not attach against an operator who detaches at that moment, and stops when it is told to", async () => {
    const attempts = async () =>
      (
        await db.pool.query(
          "select wait_event_type as waits from pg_stat_activity where datname = current_database() and application_name = 'nexus-attach'",
        )
      ).rows.map(({ waits }) => waits);
    await db.pool.query(dropTriggers);
    await pos.query("lock table public.ventas in row exclusive mode");
    const stopped = keepAttaching(db.url, log, eagerly);
    await sleep(50);
    await stopped.stop();
    await until("its last attempt has ended", async () => (await attempts()).length === 0);

    await pos.query("rollback");
    await db.pool.query("select nexus_engine.attach()");
    await pos.query("begin; lock table public.ventas in row exclusive mode");
    const detaching = db.pool.query("select nexus_engine.detach()");
    await until("detach() has begun", async () => {
      const { rowCount } = await db.pool.query(
        "select from pg_locks where locktype = 'advisory' and objid = (nexus_engine.rollups_lock() & 4294967295)::oid and granted",
      );
      return rowCount;
    });
    const attaching = keepAttaching(db.url, log, { ...eagerly, triggers: 5_000 });
    await until("it waits", async () => (await attempts()).includes("Lock"));
    await pos.query("commit");
    await Promise.all([attaching.ended, detaching]);
    assert.equal(await triggers(), 0);
    const { rowCount } = await db.pool.query("select from nexus_engine.detached");
    assert.equal(rowCount, 1);
  });

  it("leaves nothing behind that holds up the next start, whenever it is told to stop", async () => {
    await db.pool.query(dropTriggers);
    // While it connects.
    const server = new URL(db.url);
    const attaching: { stop: () => Promise<void> }[] = [];
    const proxy = createServer((socket) => {
      stopped = attaching[0]?.stop();
      const onward = createConnection(Number(server.port), server.hostname);
      for (const end of [socket, onward]) end.on("error", () => {});
      socket.pipe(onward).pipe(socket);
    });
    let stopped: Promise<void> | undefined;
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    const { port } = proxy.address() as { port: number };
    const url = Object.assign(new URL(db.url), { host: `127.0.0.1:${port}` }).toString();
    attaching.push(keepAttaching(url, log, eagerly));
    await until("it has been told to", () => stopped !== undefined);
    await stopped;
    proxy.close();
    assert.equal(await triggers(), 0);

    // While its index waits for older transactions.
    await db.pool.query("select nexus_engine.attach()");
    await db.pool.query(`drop index if exists public.${index}`);
    const store = await addStore(db.pool);
    await addSale(db.pool, store, { fecha: new Date(), total: 1 });
    await pos.query("update public.ventas set total = 2");
    const sessions = async (which: string) =>
      (
        await db.pool.query(
          `select from pg_stat_activity where datname = current_database()
           and application_name = 'nexus-attach' and ${which}`,
        )
      ).rowCount ?? 0;
    const building = keepAttaching(db.url, log, { ...eagerly, index: 60_000 });
    await until("it waits", () =>
      sessions("wait_event_type = 'Lock' and query like '%create index%'"),
    );
    await building.stop();
    await until("its session has ended", async () => (await sessions("true")) === 0);
  });

  for (const call of ["attach", "detach"]) {
    it(`never has a sale wait for long behind an operator's ${call}()`, async () => {
      const product = await addProduct(db.pool, await addStore(db.pool));
      await db.pool.query("select nexus_engine.detach()");
      if (call === "detach") await db.pool.query("select nexus_engine.attach()");
      for (const table of ["productos", "ventas", "detalles_venta"]) {
        await pos.query(`lock table public.${table} in row exclusive mode`);
        const operator = await connect(db.url, "operator");
        await operator.query("set lock_timeout = '350ms'");
        const asked = assert.rejects(operator.query(`select nexus_engine.${call}()`), {
          code: "55P03",
        });
        const longest = await longestSale(product, asked);
        assert.ok(longest < 390, `${table}: a sale waited ${longest} ms`);
        await operator.end();
        await pos.query("rollback");
        await pos.query("begin");
      }
    });
  }

  it("gives up on a migration, and leaves nothing of it", async () => {
    // Applied again, because they are forgotten; the second makes a trigger.
    const files = ["engine/announce.sql", "engine/stock.sql"];
    await db.pool.query("delete from nexus_engine.migration where name = any ($1)", [files]);
    await pos.query("lock table nexus_engine.store_settings in row exclusive mode");
    await assert.rejects(migrate(db.url, log, locks.migration), {
      name: "MigrationError",
      message:
        /^sql\/engine\/stock\.sql: gave up waiting for \w+ on nexus_engine\.store_settings.*\n {2}pid \d+ \(pos-report/,
    });
    const { rowCount } = await db.pool.query(
      "select from nexus_engine.migration where name = any ($1)",
      [files],
    );
    assert.equal(rowCount, 0);
    await pos.query("commit");
    assert.deepEqual(await migrate(db.url, log, locks.migration), { applied: files });
  });

  it("says that it waits for another process that prepares the database, until it is told to stop", async () => {
    await pos.query("select pg_advisory_lock($1)", [preparationLock]);
    const lines: string[] = [];
    const stopping = new AbortController();
    const heard = pino({ level: "info" }, { write: (line) => void lines.push(line) });
    const { signal } = stopping;
    const started = prepareDatabase(db.url, heard, { locks, signal });
    started.catch(() => {});
    const said = () => lines.filter((line) => /another process is preparing/.test(line)).length;
    await until("it says so", said);
    stopping.abort(new Error("told to stop"));
    await assert.rejects(started, /told to stop/);
    assert.equal(said(), 1);
  });

  it("goes on without an index that cannot be built, and the next start builds it", async () => {
    const store = await addStore(db.pool);
    await db.pool.query(`drop index public.${index}`);
    await addSale(db.pool, store, { fecha: new Date(), total: 1 });
    await pos.query("update public.ventas set total = 2");
    const { lines, heard } = hearing();
    await prepareDatabase(db.url, heard, { locks });
    assert.match(lines.join(), /an index is left to be built later/);
    assert.match(lines.join(), /older transactions to end.*pos-report/);
    assert.deepEqual(await indexes(), [{ valid: false }]);

    await pos.query("commit");
    await prepareDatabase(db.url, log, { locks });
    assert.deepEqual(await indexes(), [{ valid: true }]);
  });

  it("finds what happened without the triggers, first by full passes and then by a job", async () => {
    const store = await addStore(db.pool);
    const product = await addProduct(db.pool, store, { stock: 40 });
    await db.pool.query(dropTriggers);
    await setStock(db.pool, product, 2);
    await db.pool.query("select nexus_engine.attach()");
    const ceiling = async () =>
      (await db.pool.query("select ceiling from nexus_engine.stock_ceiling")).rows[0].ceiling;
    assert.equal(await ceiling(), -1);
    await reconcile(db.pool, [store], new Date(), ["STOCK_BAJO"]);
    const active = async () =>
      (await db.pool.query("select from public.insights where is_active")).rowCount;
    assert.equal(await active(), 1);

    await db.pool.query("update public.productos set is_active = true");
    await runJobs(db.poolAs("nexus_worker"));
    assert.deepEqual(await jobsLeft(db.pool), []);
    assert.equal(await ceiling(), 20);
    const { rows } = await db.pool.query("select producto_id from nexus_engine.stock_watch");
    assert.deepEqual(rows, [{ producto_id: product }]);
    await db.pool.query("select nexus_engine.attach()");
    assert.equal(await ceiling(), 20);
  });
});
