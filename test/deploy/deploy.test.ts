import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Pool } from "pg";
import { connect } from "../../src/database/client.ts";
import { createPosSchema } from "../../src/database/pos.ts";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";
import { createEmptyDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, setStock } from "../support/fixtures.ts";
import { jobsLeft } from "../support/jobs.ts";
import { until } from "../support/until.ts";
import { checkOut, released, withoutHistory } from "./release.ts";

const { commit } = await released("functions");
const day = 24 * 3_600_000;

describe("a worker of the release before", { skip: await withoutHistory(commit) }, () => {
  let db: TestDatabase;
  let tree: string;
  let worker: ChildProcess;
  const output: string[] = [];
  /** Errors, without the deadlock that a migration can have with a job, which is then tried again. */
  const faults = () =>
    output
      .join("")
      .split("\n")
      .filter((line) => /"level":"(error|fatal)"/.test(line) && !line.includes('"code":"40P01"'));

  before(async () => {
    tree = await checkOut(commit);
    db = await createEmptyDatabase();
    const owner = await connect(db.url, "test");
    await createPosSchema(owner);
    await owner.end();
    worker = spawn(process.execPath, [join(tree, "src/worker.ts")], {
      cwd: tree,
      env: {
        ...process.env,
        DATABASE_URL: db.url,
        SECRET_KEY: "una-clave-de-prueba-con-mas-de-32-bytes",
        LOG_LEVEL: "info",
      },
    });
    for (const stream of [worker.stdout, worker.stderr]) {
      stream?.on("data", (chunk) => output.push(String(chunk)));
    }
    await until("it runs", async () => {
      assert.equal(worker.exitCode, null, output.join(""));
      return output.join("").includes("Worker is running");
    });
  });
  after(async () => {
    worker?.kill("SIGKILL");
    await db?.drop();
    if (tree) await rm(dirname(tree), { recursive: true, force: true });
  });

  /** How many of our triggers have a condition. */
  const conditions = async () => {
    const { rowCount } = await db.pool.query(
      "select from pg_trigger where tgname like 'nexus\\_%' and tgqual is not null and tgenabled = 'O'",
    );
    return rowCount;
  };

  it("goes on over a database that the new release has migrated", async () => {
    const store = await addStore(db.pool);
    await addProduct(db.pool, store, { stock: 5 });
    await addProduct(db.pool, store, { stock: 0 });
    const sold = await addProduct(db.pool, store, { stock: 50 });
    // The last also in a day that is told while it runs.
    for (const days of [...Array.from({ length: 16 }, (_, n) => 16 - n), 4.5 / 24]) {
      const lines = [{ productoId: sold, cantidad: 1, precio: 100 }];
      await addSale(db.pool, store, { fecha: new Date(Date.now() - days * day), lines });
    }
    assert.equal(await conditions(), 6, "the triggers are those of the release before");
    const sales = await sellDuring(db.pool, store, sold, () =>
      prepareDatabase(db.url, createLog("silent")),
    );
    assert.ok(sales > 10, `${sales} sales meanwhile`);
    assert.equal(await conditions(), 3, "the triggers were made anew");
    await db.pool.query("delete from public.insights");
    await db.pool.query("delete from nexus_engine.open_insight");
    await db.pool.query("delete from nexus_engine.stock_told");
    await db.pool.query("delete from nexus_engine.store_day");
    await db.pool.query("delete from nexus_engine.rollup_state");

    for (const task of [
      "generate_out_of_stock_alerts",
      "generate_stock_alerts",
      "generate_sales_summary",
      "generate_weekly_sales_summary",
      "generate_all_insights",
      "roll_up",
      "check_rollups",
      "check_stock",
      "purge",
    ]) {
      await db.pool.query("select graphile_worker.add_job($1)", [task]);
    }
    await db.pool.query("select nexus_engine.request_refresh($1)", [store]);
    await until("all jobs are done", async () => {
      assert.deepEqual(faults(), []);
      return (await jobsLeft(db.pool)).length === 0;
    });
    const { rows } = await db.pool.query(
      "select array_agg(distinct tipo order by tipo) as tipos from public.insights where is_active",
    );
    assert.deepEqual(rows[0].tipos, [
      "PRODUCTO_SIN_STOCK",
      "STOCK_BAJO",
      "VENTAS_DIARIAS",
      "VENTAS_SEMANALES",
    ]);
    // Not at once: its roll-up passes when transactions of others, such as its own tasks, are open.
    await until("the days are rolled up", async () => {
      await db.pool.query("select graphile_worker.add_job('roll_up', job_key => 'roll_up')");
      await until("it has run", async () => (await jobsLeft(db.pool)).length === 0);
      const { rows: rollups } = await db.pool.query(
        "select count(*)::int as days from nexus_engine.store_day where total > 0",
      );
      return rollups[0].days >= 14;
    });

    await setStock(db.pool, sold, 1);
    await until("its drain hears the bell", async () => {
      const { rowCount } = await db.pool.query(
        "select from public.insights where is_active and extra_data ->> 'producto_id' = $1",
        [sold],
      );
      return rowCount === 1;
    });
    assert.deepEqual(faults(), []);
    assert.equal(worker.exitCode, null);
    const stopped = new Promise((resolve) => worker.once("exit", resolve));
    worker.kill("SIGTERM");
    assert.equal(await stopped, 0);
  });
});

/** Sells at several tills of this store while `work` is done, taking the product to 5 and back to 50: how often. */
async function sellDuring(
  pool: Pool,
  store: string,
  product: string,
  work: () => Promise<unknown>,
): Promise<number> {
  let going = true;
  const ended = work().finally(() => {
    going = false;
  });
  let sales = 0;
  const till = async () => {
    while (going) {
      await addSale(pool, store, {
        fecha: new Date(),
        lines: [{ productoId: product, cantidad: 1, precio: 100 }],
      });
      for (const stock of [5, 50]) await setStock(pool, product, stock);
      sales += 1;
      await sleep(2);
    }
  };
  await Promise.all([ended, till(), till(), till(), till()]);
  return sales;
}
