import assert from "node:assert/strict";
import { type AddressInfo, createConnection, createServer, type Socket } from "node:net";
import { describe, it } from "node:test";
import type { Pool } from "pg";
import { createPool } from "../src/database/pools.ts";
import { createHealth } from "../src/health.ts";
import { createLog } from "../src/log.ts";
import { startWorker } from "../src/worker/run.ts";
import { startStockDrain } from "../src/worker/stock-drain.ts";
import { createTestDatabase } from "./support/database.ts";
import { settings } from "./support/jobs.ts";
import { until } from "./support/until.ts";

describe("the worker's health", () => {
  const refused = Object.assign(new Error("a value: 4711"), { code: "40001" });
  const setUp = () => {
    let ms = 0;
    const health = createHealth(() => ms);
    return {
      health,
      wait: (seconds: number) => {
        ms += 1000 * seconds;
      },
    };
  };

  it("is bad once work has failed for half a minute, until it is done again; without values", () => {
    const { health, wait } = setUp();
    health.failed("the drain", refused);
    wait(29);
    assert.deepEqual(health.problems(), []);
    wait(1);
    health.failed("the drain", refused);
    assert.deepEqual(health.problems(), ["the drain has failed for 30 s, last with 40001"]);
    health.succeeded("the drain");
    assert.deepEqual(health.problems(), []);
  });

  it("is not judged by two jobs that fail again and again, but by three", () => {
    const { health, wait } = setUp();
    for (const job of ["1", "2", "1", "2"]) {
      health.failed("every task", refused, job);
      wait(60);
    }
    assert.deepEqual(health.problems(), []);
    health.failed("every task", refused, "3");
    assert.deepEqual(health.problems(), ["every task has failed for 240 s, last with 40001"]);
  });

  it("has warnings that do not make it bad", () => {
    const { health } = setUp();
    health.warn("clock", "late");
    assert.deepEqual([health.problems(), health.warnings()], [[], ["late"]]);
    health.warn("clock", undefined);
    assert.deepEqual(health.warnings(), []);
  });

  it("is told by the worker: of its drain, and of its tasks", async () => {
    const { health, wait } = setUp();
    const db = await createTestDatabase();
    const pool = db.poolAs("nexus_worker");
    await db.pool.query(`
      create table public.taken as select p.oid::regprocedure as function
      from pg_proc p where p.pronamespace = 'nexus_engine'::regnamespace and p.proname ~ '^(drain_outbox|begin_work)';
      do $$ declare f text; begin for f in select function from public.taken loop
        execute format('revoke execute on function %s from nexus_worker', f); end loop; end $$`);
    const log = createLog("silent");
    const worker = await startWorker({ pool, concurrency: 2, settings, log, health });
    try {
      await db.pool.query(
        "select graphile_worker.add_job('generate_all_insights', max_attempts => 1) from generate_series(1, 4)",
      );
      await until("both are said", () => {
        wait(30);
        return health.problems().length === 2;
      });
      assert.deepEqual(
        health
          .problems()
          .map((text) => text.replace(/\d+ s/, "… s"))
          .sort(),
        [
          "every task has failed for … s, last with 42501",
          "the drain of the stock outbox has failed for … s, last with 42501",
        ],
      );
      await db.pool.query(`do $$ declare f text; begin for f in select function from public.taken loop
        execute format('grant execute on function %s to nexus_worker', f); end loop; end $$`);
      await db.pool.query("select graphile_worker.add_job('generate_all_insights')");
      await until("both are taken back", () => health.problems().length === 0);
    } finally {
      await worker.stop();
      await db.drop();
    }
  });

  it("is told of tasks whose own way to the database is closed, such as a PgBouncer that is away", async () => {
    const { health, wait } = setUp();
    const db = await createTestDatabase();
    const log = createLog("silent");
    const { hostname, port } = new URL(db.url);
    const sockets: Socket[] = [];
    const proxy = createServer((socket) => {
      const onward = createConnection(Number(port), hostname);
      for (const end of [socket, onward]) end.on("error", () => {});
      sockets.push(socket, onward);
      socket.pipe(onward).pipe(socket);
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    const host = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const connectionString = Object.assign(new URL(db.url), { host }).toString();
    const pool = createPool({ connectionString, log, max: 2, name: "test", role: "nexus_worker" });
    const directPool = db.poolAs("nexus_worker");
    const worker = await startWorker({
      pool,
      directPool,
      concurrency: 2,
      settings,
      log,
      health,
    });
    try {
      proxy.close();
      for (const socket of sockets) socket.destroy();
      await db.pool.query(
        "select graphile_worker.add_job('generate_all_insights', max_attempts => 1) from generate_series(1, 4)",
      );
      await until("it is said", () => {
        wait(30);
        return health.problems().length === 1;
      });
      assert.match(
        health.problems().join(),
        /^every task has failed for \d+ s, last with ECONNREFUSED$/,
      );
    } finally {
      await worker.stop();
      await pool.end();
      await db.drop();
    }
  });

  it("is not told that a drain failed which was stopped in the middle of it", async () => {
    const { health, wait } = setUp();
    const connected = Promise.withResolvers<never>();
    const pool = { connect: () => connected.promise } as unknown as Pool;
    const drain = startStockDrain(pool, createLog("silent"), health);
    const stopped = drain.stop();
    connected.reject(new Error("cut off"));
    await stopped;
    wait(60);
    assert.deepEqual(health.problems(), []);
  });
});
