import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { parseCrontab } from "graphile-worker";
import { createLog } from "../../src/log.ts";
import { startWorker } from "../../src/worker/run.ts";
import { tasksDir } from "../../src/worker/tasks.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore } from "../support/fixtures.ts";
import { holdRefreshes } from "../support/hold.ts";
import { jobsLeft, runJobs, settings } from "../support/jobs.ts";
import { until } from "../support/until.ts";

describe("the crontab", () => {
  it("names a file of tasks/ in every line, under an id of its own", () => {
    const items = parseCrontab(readFileSync(join(tasksDir, "../crontab"), "utf8"));
    const tasks = readdirSync(tasksDir).map((file) => file.replace(/\.ts$/, ""));
    assert.ok(items.length > 0);
    for (const { task } of items) assert.ok(tasks.includes(task), task);
    assert.equal(new Set(items.map(({ identifier }) => identifier)).size, items.length);
  });
});

describe("a worker", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  it("runs every scheduled task as cron enqueues it", async () => {
    const store = await addStore(db.pool);
    await addProduct(db.pool, store, { stock: 5 });
    await addProduct(db.pool, store, { stock: 0 });
    // The last also in a day that is told while it runs.
    for (const days of [...Array.from({ length: 16 }, (_, n) => 16 - n), 4.5 / 24]) {
      await addSale(db.pool, store, {
        fecha: new Date(Date.now() - days * 24 * 3_600_000),
        total: 9,
      });
    }
    const worker = db.poolAs("nexus_worker");
    const active = async () => {
      const { rows } = await db.pool.query(
        "select tipo from public.insights where is_active order by tipo",
      );
      return rows.map(({ tipo }) => tipo);
    };
    const tick = async (task: string) => {
      await db.pool.query("select graphile_worker.add_job($1, $2)", [
        task,
        JSON.stringify({ _cron: { ts: new Date().toISOString(), backfilled: false } }),
      ]);
      await runJobs(worker);
      assert.deepEqual(await jobsLeft(db.pool), [], task);
      return active();
    };
    assert.deepEqual(await tick("check_stock"), []);
    // What it has handed to the drain, and a pass would tell of every type.
    await db.pool.query("delete from nexus_engine.stock_recheck");
    assert.deepEqual(await tick("generate_out_of_stock_alerts"), ["PRODUCTO_SIN_STOCK"]);
    assert.deepEqual(await tick("generate_stock_alerts"), ["PRODUCTO_SIN_STOCK", "STOCK_BAJO"]);
    assert.ok((await tick("generate_sales_summary")).includes("VENTAS_DIARIAS"));
    assert.ok((await tick("generate_weekly_sales_summary")).includes("VENTAS_SEMANALES"));
    await db.pool.query("delete from public.insights");
    await db.pool.query("delete from nexus_engine.open_insight");
    await db.pool.query("delete from nexus_engine.stock_told");
    assert.equal((await tick("generate_all_insights")).length, 4);
    await tick("purge");
  });

  it("makes good at its start what was missed, and a stop finishes what runs and leaves no lock", async () => {
    const store = await addStore(db.pool);
    await addProduct(db.pool, store, { stock: 5 });
    const release = await holdRefreshes(db.pool);
    const pool = db.poolAs("nexus_worker", 8);
    const worker = await startWorker({ pool, concurrency: 4, settings, log: createLog("silent") });
    await until("a refresh runs", async () => {
      const { rowCount } = await db.pool.query(
        "select from nexus_engine.job_run where task = 'refresh_stores' and finished_at is null",
      );
      return rowCount;
    });
    const stopped = worker.stop();
    await release();
    await stopped;
    const { rowCount } = await db.pool.query(
      "select from public.insights where tienda_id = $1 and is_active",
      [store],
    );
    assert.equal(rowCount, 1);
    assert.deepEqual(
      (await jobsLeft(db.pool)).filter((job) => job.locked_by),
      [],
    );
  });
});
