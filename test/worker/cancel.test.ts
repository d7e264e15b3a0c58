import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import type { TestDatabase } from "../support/database.ts";
import { addStore } from "../support/fixtures.ts";
import { until } from "../support/until.ts";
import { addProbe, createProbeDatabase, runsOf, startProbeWorker } from "./probes.ts";

describe("an operator's cancellation", () => {
  let db: TestDatabase;
  let worker: Awaited<ReturnType<typeof startProbeWorker>>;
  before(async () => {
    db = await createProbeDatabase();
    worker = await startProbeWorker(db.url);
  });
  afterEach(() => db.pool.query("delete from public.probe"));
  after(async () => {
    await worker.stop();
    await db.drop();
  });

  const cancel = async (job: string, reason: string | null = "runs too long") => {
    const client = await db.pool.connect();
    try {
      await client.query("set role nexus_ops");
      const { rows } = await client.query("select nexus_engine.cancel_job($1, $2) as said", [
        job,
        reason,
      ]);
      return rows[0].said;
    } finally {
      await client.query("reset role");
      client.release();
    }
  };
  const ends = (job: string) =>
    until("the job ends", async () => Boolean((await runsOf(db, job)).at(-1)?.outcome));
  const sleepers = async () =>
    (
      await db.pool.query(
        "select from pg_stat_activity where datname = current_database() and query like '%pg_sleep%' and pid <> pg_backend_pid()",
      )
    ).rowCount;

  it("stops a job that runs SQL: its transaction is gone, its slot is free, it does not run again", async () => {
    const job = await addProbe(db, { name: "long", sqlSeconds: 600 });
    await until("its SQL runs", async () => Boolean(await sleepers()));
    assert.equal(await cancel(job), "cancelling");
    const asked = performance.now();
    await ends(job);
    await until("its SQL is gone", async () => !(await sleepers()));
    assert.ok(performance.now() - asked < 3_000);
    assert.deepEqual(await runsOf(db, job), [
      {
        attempt: 1,
        outcome: "cancelled",
        error_code: "CANCELLED",
        error_message: "cancelled: runs too long",
      },
    ]);
    assert.equal((await db.pool.query("select from public.probe")).rowCount, 0);
    await until("it has no attempts left", async () => {
      const { rows } = await db.pool.query(
        "select locked_by, attempts, max_attempts, last_error from graphile_worker.jobs where id = $1",
        [job],
      );
      return rows[0].locked_by === null && rows[0].attempts === rows[0].max_attempts;
    });
    assert.equal((await db.pool.query("select from nexus_engine.job_cancellation")).rowCount, 0);
  });

  it("stops a job that waits for something else", async () => {
    const job = await addProbe(db, { name: "idle", idleMs: 600_000 });
    await until("it runs", async () => (await runsOf(db, job)).length === 1);
    assert.equal(await cancel(job), "cancelling");
    await ends(job);
    assert.equal((await runsOf(db, job))[0]?.outcome, "cancelled");
  });

  it("ends a job that waits, and the request that it served", async () => {
    const store = await addStore(db.pool);
    const { rows } = await db.pool.query("select id from nexus_engine.request_refresh($1)", [
      store,
    ]);
    const { rows: jobs } = await db.pool.query(
      "select id from graphile_worker.jobs where task_identifier = 'refresh_stores'",
    );
    assert.equal(await cancel(jobs[0].id), "cancelled");
    assert.deepEqual(
      (await runsOf(db, jobs[0].id)).map((run) => [run.outcome, run.error_message]),
      [["cancelled", "runs too long"]],
    );
    const { rows: requests } = await db.pool.query(
      "select status, error_code from nexus_engine.refresh_request where id = $1",
      [rows[0].id],
    );
    assert.deepEqual(requests, [{ status: "failed", error_code: "CANCELLED" }]);
    assert.equal(await cancel(jobs[0].id), "not found");
  });

  it("wants to know which job, and why", async () => {
    assert.equal(await cancel("999999999"), "not found");
    await assert.rejects(cancel("1", " "), { code: "NX001", column: "reason" });
    await assert.rejects(cancel("1", null), { code: "NX001", column: "reason" });
  });
});
