import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Pool } from "pg";
import { z } from "zod";
import { createLog } from "../../src/log.ts";
import { PermanentError, type TaskDefinition } from "../../src/worker/define-task.ts";
import { createLedger } from "../../src/worker/ledger.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { runJobs } from "../support/jobs.ts";
import { until } from "../support/until.ts";

const store = "b7a1a2b6-3c1e-4d58-9a53-6d1f6a0f9d01";

describe("the ledger", () => {
  let db: TestDatabase;
  let worker: Pool;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
  });
  afterEach(() =>
    db.pool.query("delete from graphile_worker._private_jobs; delete from nexus_engine.job_run"),
  );
  after(() => db.drop());

  const enqueue = async (payload: unknown = {}, options = "") => {
    const { rows } = await db.pool.query(
      `select id from graphile_worker.add_job('probe', $1 ${options})`,
      [JSON.stringify(payload)],
    );
    return rows[0].id;
  };
  const probe = (run: TaskDefinition["run"], settings = {}, payload: z.ZodType = z.unknown()) =>
    runJobs(worker, { tasks: { probe: { payload, run } }, settings });
  const rows = async () =>
    (await db.pool.query("select * from nexus_engine.job_run order by id")).rows;

  it("has one row an attempt: what, for whom, when, how it ended, what it did", async () => {
    const job = await enqueue({ tiendas: [store] }, ", run_at => now() - interval '90 seconds'");
    await probe(async () => ({ inserted: 3 }));
    const [run, ...others] = await rows();
    assert.deepEqual(others, []);
    assert.equal(run.job_id, job);
    assert.equal(run.task, "probe");
    assert.deepEqual([run.attempt, run.max_attempts], [1, 25]);
    assert.deepEqual(run.payload, { tiendas: [store] });
    assert.deepEqual(run.tiendas, [store]);
    assert.equal(run.outcome, "succeeded");
    assert.deepEqual(run.counts, { inserted: 3 });
    assert.match(run.worker, /^otpool-/);
    assert.ok(run.due_at < run.queued_at && run.queued_at < run.started_at);
    assert.ok(run.started_at <= run.finished_at && run.finished_at <= new Date());
    assert.equal(run.lateness.minutes, 1);
    assert.ok(run.lateness.seconds >= 30);
  });

  it("says of each attempt whether it is followed by another, and why it failed", async () => {
    const job = await enqueue({}, ", max_attempts => 3");
    const attempt = async (error: Error) => {
      await db.pool.query("update graphile_worker._private_jobs set run_at = now()");
      await probe(async () => {
        throw error;
      });
    };
    await attempt(Object.assign(new Error("no connection"), { code: "ECONNRESET" }));
    await attempt(Object.assign(new Error("deadlock"), { code: "40P01" }));
    await attempt(new Error("still away"));
    assert.deepEqual(
      (await rows()).map((r) => [r.job_id, r.attempt, r.outcome, r.error_code, r.error_message]),
      [
        [job, 1, "retrying", "ECONNRESET", "no connection"],
        [job, 2, "retrying", "40P01", "deadlock"],
        [job, 3, "failed", "Error", "still away"],
      ],
    );
  });

  it("ends a job at the first error that a retry cannot mend", async () => {
    const errors = [
      new PermanentError("no such store"),
      new TypeError("x is not a function"),
      Object.assign(new Error("division by zero"), { code: "22012" }),
      Object.assign(new Error("no such column"), { code: "42703" }),
    ];
    for (const error of errors) {
      await enqueue();
      await probe(async () => {
        throw error;
      });
      const { rows: left } = await db.pool.query(
        "delete from graphile_worker._private_jobs returning attempts, max_attempts, last_error",
      );
      assert.deepEqual(left, [{ attempts: 1, max_attempts: 1, last_error: error.message }]);
    }
    assert.deepEqual(
      (await rows()).map((r) => [r.outcome, r.error_code]),
      [
        ["failed", "PERMANENT"],
        ["failed", "TypeError"],
        ["failed", "22012"],
        ["failed", "42703"],
      ],
    );
  });

  it("names the field of a payload that is not usable", async () => {
    await enqueue({ tiendas: "all" });
    await probe(async () => undefined, {}, z.strictObject({ tiendas: z.array(z.string()) }));
    const [run] = await rows();
    assert.deepEqual([run.outcome, run.error_code, run.tiendas], ["failed", "PAYLOAD", null]);
    assert.match(run.error_message, /payload\.tiendas: .*expected an array.*got "all"/);
    assert.deepEqual(run.payload, { tiendas: "all" });
  });

  it("shows an attempt while it runs", async () => {
    await enqueue();
    let seen: { outcome: string | null; finished_at: Date | null }[] = [];
    await probe(async () => {
      await sleep(400);
      seen = await rows();
      return { done: 1 };
    });
    assert.deepEqual(
      seen.map((r) => [r.outcome, r.finished_at]),
      [[null, null]],
    );
    const [run, ...others] = await rows();
    assert.deepEqual([run.outcome, run.counts, others.length], ["succeeded", { done: 1 }, 0]);
  });

  it("says timed out when the limit ended it, in SQL or elsewhere", async () => {
    const job = await enqueue({ where: "sql" });
    await enqueue({ where: "js" });
    await probe(
      async ({ payload, transaction, signal }) => {
        if ((payload as { where: string }).where === "js")
          await sleep(60_000, undefined, { signal });
        return transaction(async (client) => {
          await client.query("select pg_sleep(60)");
          return {};
        });
      },
      { jobTimeLimitMs: 200 },
    );
    assert.deepEqual(
      (await rows()).map((r) => [r.outcome, r.error_code]),
      [
        ["timed_out", "57014"],
        ["timed_out", "57014"],
      ],
    );
    assert.ok((await rows()).some((r) => r.job_id === job));
  });

  it("holds payloads and messages that jsonb would refuse", async () => {
    await db.pool.query(
      `select graphile_worker.add_job('probe', '{"name": "a\\u0000b \\ud800"}'::json)`,
    );
    await probe(async () => {
      throw new PermanentError("bad \0 name \ud800");
    });
    const { rows: runs } = await db.pool.query(
      "select payload::text, error_message from nexus_engine.job_run",
    );
    assert.deepEqual(runs, [
      { payload: '{"name": "a\\u0000b \\ud800"}', error_message: "bad \\0 name \ufffd" },
    ]);
  });

  it("knows of a job that was enqueued again under its key while it ran", async () => {
    const again = () =>
      db.pool.query(
        "select graphile_worker.add_job('probe', '{}', job_key => 'same', max_attempts => 3)",
      );
    await again();
    let calls = 0;
    await probe(async ({ transaction }) => {
      calls += 1;
      if (calls > 1) return { second: true };
      await again();
      // Still its own, though Graphile Worker has used up its attempts.
      await transaction((client) => client.query("select 1"));
      throw Object.assign(new Error("no connection"), { code: "ECONNRESET" });
    });
    assert.deepEqual(
      (await rows()).map((r) => [r.attempt, r.outcome, r.error_message]),
      [
        [1, "failed", "no connection; a newer job has replaced it"],
        [1, "succeeded", null],
      ],
    );
    const { rowCount } = await db.pool.query("select from graphile_worker._private_jobs");
    assert.equal(rowCount, 0, "what nobody will run again is not left in the queue");
  });

  it("tries again when Postgres does not take it, and then has everything once", async () => {
    const ids = await Promise.all(Array.from({ length: 20 }, () => enqueue()));
    let refusals = 3;
    const flaky = new Proxy(worker, {
      get(target, key) {
        if (key !== "query") return Reflect.get(target, key, target);
        return (...args: [string, unknown[]]) => {
          refusals -= 1;
          if (refusals >= 0)
            return Promise.reject(Object.assign(new Error("gone"), { code: "57P01" }));
          return target.query(...args);
        };
      },
    });
    const ledger = createLedger(flaky, createLog("silent"));
    const { rows: jobs } = await db.pool.query(
      "update graphile_worker._private_jobs set locked_by = 'w', locked_at = now(), attempts = 1 returning *",
    );
    const kept = await Promise.all(
      jobs.map((job) => ledger.begin(job).finish({ outcome: "succeeded", counts: {} })),
    );
    assert.deepEqual(new Set(kept), new Set([true]));
    assert.deepEqual((await rows()).map((r) => r.job_id).sort(), ids.sort());
    assert.ok(refusals < 0);
  });

  const take = async (count: number) => {
    for (let n = 0; n < count; n += 1) await enqueue();
    const { rows: jobs } = await db.pool.query(
      "update graphile_worker._private_jobs set locked_by = 'w', locked_at = now(), attempts = 1 returning *",
    );
    return jobs;
  };
  const write = async (...runs: object[]) => {
    const { rows: written } = await worker.query(
      "select id from nexus_engine.write_job_runs('w', $1) id",
      [JSON.stringify(runs)],
    );
    return written.map((row) => row.id);
  };

  it("has everything once, and believed, though the answers to its writes were lost", async () => {
    const [long, short] = await take(2);
    let lost = 0;
    const deaf = new Proxy(worker, {
      get(target, key) {
        if (key !== "query") return Reflect.get(target, key, target);
        return async (...args: [string, unknown[]]) => {
          const answer = await target.query(...args);
          lost += 1;
          // Every other time.
          if (lost % 2 === 0) return answer;
          throw Object.assign(new Error("cut off"), { code: "ECONNRESET" });
        };
      },
    });
    const ledger = createLedger(deaf, createLog("silent"));
    const run = ledger.begin(long);
    await until("the long one is entered", async () => (await rows()).length === 1);
    const ended = { outcome: "succeeded", counts: {} } as const;
    assert.equal(await ledger.begin(short).finish(ended), true);
    assert.equal(await run.finish(ended), true);
    assert.deepEqual(
      (await rows()).map((r) => [r.job_id, r.outcome]),
      [
        [long.id, "succeeded"],
        [short.id, "succeeded"],
      ],
    );
    assert.ok(lost >= 6);
  });

  it("takes a write again as it took it first", async () => {
    const [long, short] = (await take(2)).map((job) => ({ job: job.id, attempt: 1, age: 0 }));
    const batch = [
      { ...long, tiendas: [store] },
      { ...short, outcome: "retrying", code: "40001", message: "x", ended: 0 },
    ];
    const again = batch.map((run) => ({ ...run, again: true }));
    const ids = await write(...batch);
    const first = await rows();
    assert.deepEqual(await write(...again), ids);
    assert.deepEqual(await rows(), first);
    const end = { ...long, id: ids[0], outcome: "succeeded", ended: 0, again: true };
    assert.deepEqual(await write(end), [ids[0]]);
    const closed = await rows();
    assert.deepEqual(await write(end), [ids[0]]);
    assert.deepEqual(await rows(), closed);
    assert.deepEqual(await write({ ...end, outcome: "failed" }), [null], "another end is not its");
  });

  it("tries again while Postgres is still at the write whose connection was lost", async () => {
    const [job] = await take(1);
    const first = await worker.connect();
    let calls = 0;
    const cut = new Proxy(worker, {
      get(target, key) {
        if (key !== "query") return Reflect.get(target, key, target);
        return async (...args: [string, unknown[]]) => {
          calls += 1;
          if (calls > 1) return target.query(...args);
          await first.query("begin");
          await first.query(...args);
          throw Object.assign(new Error("cut off"), { code: "ECONNRESET" });
        };
      },
    });
    const run = createLedger(cut, createLog("silent")).begin(job);
    await until("it is tried again", () => calls === 2);
    await sleep(50);
    await first.query("commit");
    first.release();
    assert.equal(await run.finish({ outcome: "succeeded", counts: {} }), true);
    assert.deepEqual(
      (await rows()).map((r) => [r.job_id, r.outcome]),
      [[job.id, "succeeded"]],
    );
  });

  it("enters an attempt of the same number again when an operator gave the job new ones", async () => {
    const [run] = (await take(1)).map((job) => ({ job: job.id, attempt: 1, age: 0, ended: 0 }));
    await write({ ...run, outcome: "failed", code: "PAYLOAD", message: "bad" });
    await db.pool.query("update graphile_worker._private_jobs set locked_at = clock_timestamp()");
    await write({ ...run, outcome: "failed", code: "PAYLOAD", message: "worse", again: true });
    assert.deepEqual(
      (await rows()).map((r) => r.error_message),
      ["bad", "worse"],
    );
  });
});
