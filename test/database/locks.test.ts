import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { pino } from "pino";
import { connect } from "../../src/database/client.ts";
import { migrate } from "../../src/database/migrate.ts";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, reconcile, setStock } from "../support/fixtures.ts";
import { jobsLeft, runJobs } from "../support/jobs.ts";

const log = createLog("silent");
const locks = { migration: 300, triggers: 1_000, index: 400 };
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

  it("gives up on the triggers, says who is in front, leaves nothing half done, and holds up no sale", async () => {
    const store = await addStore(db.pool);
    const [sold, held] = [await addProduct(db.pool, store), await addProduct(db.pool, store)];
    await db.pool.query("select nexus_engine.detach()");
    await db.pool.query("delete from nexus_engine.detached");
    await pos.query("update public.productos set stock_actual = 7 where id = $1", [held]);
    const { rows } = await pos.query("select pg_backend_pid() as pid");

    const started = performance.now();
    const longest = await longestSale(
      sold,
      assert.rejects(prepareDatabase(db.url, log, { locks }), {
        name: "MigrationError",
        message: new RegExp(
          `ShareRowExclusiveLock on (public\\.)?productos.*\\n  pid ${rows[0].pid} \\(pos-report, .*idle in transaction, transaction since 20.*statement since 20`,
        ),
      }),
    );
    assert.ok(performance.now() - started < 5_000);
    assert.ok(longest < 900, `a sale waited ${longest} ms`);
    assert.equal(await triggers(), 0);

    await pos.query("commit");
    await prepareDatabase(db.url, log, { locks });
    assert.equal(await triggers(), 8);
    assert.deepEqual(await indexes(), [{ valid: true }]);
  });

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

  it("goes on without an index that cannot be built, and the next start builds it", async () => {
    const store = await addStore(db.pool);
    await db.pool.query(`drop index public.${index}`);
    await addSale(db.pool, store, { fecha: new Date(), total: 1 });
    await pos.query("update public.ventas set total = 2");
    const lines: string[] = [];
    const heard = pino({ level: "warn" }, { write: (line: string) => void lines.push(line) });
    await prepareDatabase(db.url, heard, { locks });
    assert.match(lines.join(), /an index is left to be built by the next start/);
    assert.match(lines.join(), /older transactions to end.*pos-report/);
    assert.deepEqual(await indexes(), [{ valid: false }]);

    await pos.query("commit");
    await prepareDatabase(db.url, log, { locks });
    assert.deepEqual(await indexes(), [{ valid: true }]);
  });

  it("finds what happened without the triggers, first by full passes and then by a job", async () => {
    const store = await addStore(db.pool);
    const product = await addProduct(db.pool, store, { stock: 40 });
    await db.pool.query("select nexus_engine.detach()");
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
    assert.equal(await ceiling(), 10);
    const { rows } = await db.pool.query("select producto_id from nexus_engine.stock_watch");
    assert.deepEqual(rows, [{ producto_id: product }]);
    await db.pool.query("select nexus_engine.attach()");
    assert.equal(await ceiling(), 10);
  });
});
