import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { freePort } from "../../src/database/embedded/launch.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore } from "../support/fixtures.ts";
import { holdRefreshes } from "../support/hold.ts";
import { until } from "../support/until.ts";

const main = join(import.meta.dirname, "../../src/worker.ts");

describe("a worker that is told to stop", () => {
  let db: TestDatabase;
  let store: string;
  const children: ChildProcess[] = [];
  before(async () => {
    db = await createTestDatabase();
  });
  beforeEach(async () => {
    store = await addStore(db.pool);
    await addProduct(db.pool, store, { stock: 5 });
  });
  after(async () => {
    for (const child of children) child.kill("SIGKILL");
    await db.drop();
  });

  const start = async (command: string[] = []) => {
    const child = launch(command);
    assert.ok(child.stdout);
    await once(child.stdout, "data");
    return child;
  };
  const launch = (command: string[], env: Record<string, string> = {}) => {
    const [file = process.execPath, ...args] = [...command, process.execPath, main];
    const child = spawn(file, args, {
      env: {
        ...process.env,
        DATABASE_URL: db.url,
        SECRET_KEY: "k".repeat(32),
        LOG_LEVEL: "silent",
        ...env,
      },
      stdio: ["ignore", "pipe", env["LOG_LEVEL"] ? "pipe" : "inherit"],
    });
    children.push(child);
    return child;
  };
  /** A worker whose job waits for `release`. */
  const busyWorker = async (command: string[] = []) => {
    const release = await holdRefreshes(db.pool);
    const child = await start(command);
    await until("the job runs", async () => {
      const { rowCount } = await db.pool.query(
        "select from nexus_engine.job_run where task = 'refresh_stores' and finished_at is null",
      );
      return Boolean(rowCount);
    });
    return { child, release };
  };
  const exit = async (child: ChildProcess) => (await once(child, "exit"))[0];
  const state = async () => {
    const { rows } = await db.pool.query(`
      select (select count(*)::int from graphile_worker._private_jobs where locked_by is not null) as locked,
        (select count(*)::int from nexus_engine.job_run where finished_at is null) as open,
        (select count(*)::int from nexus_engine.worker_pool) as workers,
        (select count(*)::int from public.insights where tienda_id = '${store}' and is_active) as insights`);
    return rows[0];
  };

  /** As Docker does: the signal goes to process 1 of the container, which has no default actions. */
  const firstInside = async ({ pid }: ChildProcess) =>
    Number((await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).trim());

  const finishes = async (command: string[], inside = false) => {
    const { child, release } = await busyWorker(command);
    const exited = exit(child);
    process.kill(inside ? await firstInside(child) : (child.pid as number), "SIGTERM");
    await sleep(300);
    assert.equal(child.exitCode, null, "waits for the job");
    await release();
    assert.equal(await exited, 0);
    assert.deepEqual(await state(), { locked: 0, open: 0, workers: 0, insights: 1 });
  };

  it("finishes what runs and exits 0", () => finishes([]));

  const namespaces = process.platform === "linux" && process.getuid?.() === 0;
  it(
    "does so as the first process of a container",
    { skip: namespaces ? false : "needs root" },
    () => finishes(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"], true),
  );

  it("does not wait for a database that is not there, and exits 0", async () => {
    const nobody = `postgres://nobody@127.0.0.1:${await freePort()}/none`;
    const child = launch([], { DATABASE_URL: nobody, LOG_LEVEL: "warn" });
    assert.ok(child.stderr);
    await once(child.stderr, "data");
    const exited = exit(child);
    const since = performance.now();
    child.kill("SIGTERM");
    assert.equal(await exited, 0);
    // Alone it would try for 30 seconds.
    assert.ok(performance.now() - since < 10_000);
  });

  it("exits at once at the second signal, and what it left runs with the next worker", async () => {
    const { child, release } = await busyWorker();
    const exited = exit(child);
    child.kill("SIGTERM");
    await sleep(700);
    child.kill("SIGTERM");
    assert.equal(await exited, 1);
    await release();
    const next = await start();
    await until("it was lost and is done", async () => {
      const { rows } = await db.pool.query(
        `select array_agg(distinct outcome) as outcomes from nexus_engine.job_run
         where task = 'refresh_stores' and tiendas @> array[$1]::uuid[]`,
        [store],
      );
      return isDeepStrictEqual(rows[0].outcomes, ["lost", "succeeded"]);
    });
    next.kill("SIGTERM");
    assert.equal(await exit(next), 0);
    assert.deepEqual(await state(), { locked: 0, open: 0, workers: 0, insights: 1 });
  });
});
