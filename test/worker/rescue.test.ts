import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { TestDatabase } from "../support/database.ts";
import { addStore } from "../support/fixtures.ts";
import { until } from "../support/until.ts";
import { addProbe, createProbeDatabase, runsOf, spawnWorker, startProbeWorker } from "./probes.ts";

describe("the rescue of what a dead worker left", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createProbeDatabase();
  });
  afterEach(() =>
    db.pool.query(`delete from graphile_worker._private_jobs; delete from nexus_engine.job_run;
      delete from nexus_engine.worker_pool; delete from public.probe`),
  );
  after(() => db.drop());

  /** As a worker that took the job and then said nothing for a minute. */
  const take = async (job: string, worker: string) => {
    await db.pool.query(
      `update graphile_worker._private_jobs set locked_by = $2, locked_at = now(), attempts = attempts + 1 where id = $1`,
      [job, worker],
    );
    await db.pool.query(
      `insert into nexus_engine.worker_pool values ($1, 'here', 1, now() - interval '1 hour', now() - interval '1 minute')`,
      [worker],
    );
  };
  const rescue = async (frozen = "1 hour") => {
    const { rows } = await db
      .poolAs("nexus_worker")
      .query("select worker, job_id, fate from nexus_engine.rescue('50 ms', $1)", [frozen]);
    return rows.map((r) => [r.worker, r.job_id, r.fate]);
  };
  const jobOf = async (id: string) =>
    (
      await db.pool.query(
        "select *, run_at - now() as wait from graphile_worker._private_jobs where id = $1",
        [id],
      )
    ).rows[0];

  it("runs the job of a killed process again within ten seconds", async () => {
    const child = await spawnWorker(db);
    const job = await addProbe(db, { name: "first", sqlSeconds: 600 });
    await until("it runs", async () => (await runsOf(db, job)).length === 1);
    const successor = await startProbeWorker(db.url);
    try {
      // Made short, so that the second attempt ends.
      await db.pool.query("update graphile_worker._private_jobs set payload = $1", [
        JSON.stringify({ name: "second" }),
      ]);
      const killed = performance.now();
      child.kill("SIGKILL");
      await until("it is done", async () =>
        (await runsOf(db, job)).some((run) => run.outcome === "succeeded"),
      );
      assert.ok(performance.now() - killed < 10_000);
      assert.deepEqual(
        (await runsOf(db, job)).map((run) => [run.attempt, run.outcome]),
        [
          [1, "lost"],
          [2, "succeeded"],
        ],
      );
      const { rows } = await db.pool.query("select name from public.probe");
      assert.deepEqual(rows, [{ name: "second" }]);
    } finally {
      await successor.stop();
    }
  });

  it("leaves a frozen process alone while its connection stands", async () => {
    // Alone while the job comes, so that it is the child's.
    const child = await spawnWorker(db);
    const job = await addProbe(db, { name: "slow", idleMs: 5_000 });
    await until("it runs", async () => (await runsOf(db, job)).length === 1);
    const successor = await startProbeWorker(db.url);
    try {
      child.kill("SIGSTOP");
      await sleep(4_000);
      assert.deepEqual(
        (await runsOf(db, job)).map((run) => run.outcome),
        [null],
      );
      child.kill("SIGCONT");
      await until("it is done", async () => (await runsOf(db, job))[0]?.outcome === "succeeded");
      assert.equal((await runsOf(db, job)).length, 1);
    } finally {
      child.kill("SIGKILL");
      await successor.stop();
    }
  });

  it("does not rob a worker that may be writing, and lets it write no more once robbed", async () => {
    const job = await addProbe(db, { name: "x" });
    await take(job, "pool-a");
    const late = await db.poolAs("nexus_worker").connect();
    await late.query("begin");
    await late.query("select nexus_engine.begin_work('pool-a', $1, 10000)", [job]);
    assert.deepEqual(await rescue(), []);
    await late.query("commit");
    assert.deepEqual(await rescue(), [["pool-a", job, "lost"]]);
    await late.query("begin");
    await assert.rejects(late.query("select nexus_engine.begin_work('pool-a', $1, 10000)", [job]), {
      code: "NX005",
    });
    await late.query("rollback");
    const { rows } = await late.query(
      `select id from nexus_engine.write_job_runs('pool-a', $1) id`,
      [JSON.stringify([{ job, attempt: 1, age: 5, outcome: "succeeded", ended: 0 }])],
    );
    late.release();
    assert.deepEqual(rows, [{ id: null }]);
    assert.deepEqual(
      (await runsOf(db, job)).map((run) => run.outcome),
      ["lost"],
    );
  });

  it("takes the guard's lock for a sign of life, but not for ever", async () => {
    const job = await addProbe(db, { name: "x" });
    await take(job, "pool-a");
    const guard = await db.pool.connect();
    await guard.query("select pg_advisory_lock(nexus_engine.worker_guard('pool-a'))");
    assert.deepEqual(await rescue(), []);
    assert.deepEqual(await rescue("30 seconds"), [["pool-a", job, "lost"]]);
    guard.release(true);
  });

  it("gives the job to one of many rescuers", async () => {
    const jobs = await Promise.all(["a", "b", "c"].map((name) => addProbe(db, { name })));
    await Promise.all(jobs.map((job, index) => take(job, `pool-${index}`)));
    const rescued = (await Promise.all(Array.from({ length: 8 }, () => rescue()))).flat();
    assert.deepEqual(rescued.map(([, job]) => job).sort(), [...jobs].sort());
  });

  it("gives a lost job another attempt, later each time, even after its last one", async () => {
    const job = await addProbe(db, { name: "x" }, 1);
    await take(job, "pool-a");
    await rescue();
    const first = await jobOf(job);
    assert.deepEqual([first.locked_by, first.attempts, first.max_attempts], [null, 1, 2]);
    assert.ok(first.wait.milliseconds > 500 && !first.wait.seconds);
    await take(job, "pool-b");
    await rescue();
    const second = await jobOf(job);
    assert.deepEqual([second.attempts, second.max_attempts, second.wait.seconds], [2, 3, 3]);
  });

  it("sets a job aside that three workers in a row did not survive, with the evidence", async () => {
    const store = await addStore(db.pool);
    const { rows: requests } = await db.pool.query(
      "select id from nexus_engine.request_refresh($1)",
      [store],
    );
    const { rows: jobs } = await db.pool.query("select id from graphile_worker._private_jobs");
    const job = jobs[0].id;
    const die = async (worker: string) => {
      await take(job, worker);
      return (await rescue())[0]?.[2];
    };
    assert.equal(await die("pool-a"), "lost");
    // It lived, so what comes before does not count.
    await db.pool.query(
      `insert into nexus_engine.job_run (job_id, task, attempt, max_attempts, queued_at, due_at, finished_at, outcome)
       values ($1, 'refresh_stores', 1, 5, now(), now(), now(), 'retrying')`,
      [job],
    );
    assert.deepEqual(
      [await die("pool-b"), await die("pool-c"), await die("pool-d")],
      ["lost", "lost", "poison"],
    );
    const row = await jobOf(job);
    assert.deepEqual([row.attempts, row.max_attempts, row.locked_by], [4, 4, null]);
    assert.match(row.last_error, /did not survive it: pool-b at \S+, pool-c at \S+, pool-d at /);
    const runs = await runsOf(db, job);
    assert.deepEqual([runs.at(-1)?.outcome, runs.at(-1)?.error_code], ["lost", "POISON"]);
    const { rows: ended } = await db.pool.query(
      "select status, error_code from nexus_engine.refresh_request where id = $1",
      [requests[0].id],
    );
    assert.deepEqual(ended, [{ status: "failed", error_code: "LOST" }]);
  });

  it("believes the ledger when the worker died after the work was done", async () => {
    const [done, failed, retried] = await Promise.all(
      ["a", "b", "c"].map((name) => addProbe(db, { name })),
    );
    for (const job of [done, failed, retried]) await take(job as string, `pool-${job}`);
    const tell = (job: string | undefined, end: Record<string, string>) =>
      db.pool.query("select nexus_engine.write_job_runs($1, $2)", [
        `pool-${job}`,
        JSON.stringify([{ job, attempt: 1, age: 0, ended: 0, ...end }]),
      ]);
    await tell(done, { outcome: "succeeded" });
    await tell(failed, { outcome: "failed", code: "PAYLOAD", message: "bad" });
    await tell(retried, { outcome: "retrying", code: "40001", message: "again" });
    assert.deepEqual(
      (await rescue()).map(([, job, fate]) => [job, fate]).sort(),
      [
        [done, "completed"],
        [failed, "ended"],
        [retried, "ended"],
      ].sort(),
    );
    assert.equal(await jobOf(done as string), undefined);
    const [bad, again] = [await jobOf(failed as string), await jobOf(retried as string)];
    assert.deepEqual(
      [bad.attempts, bad.max_attempts, bad.last_error, bad.locked_by],
      [1, 1, "bad", null],
    );
    assert.deepEqual([again.attempts, again.max_attempts, again.last_error], [1, 25, "again"]);
    assert.equal(again.wait.seconds, 2);
    assert.equal((await runsOf(db, done as string)).length, 1);
  });

  it("does not run again what a newer job under its key has replaced", async () => {
    await db.pool.query("select graphile_worker.add_job('probe', '{}', job_key => 'same')");
    const { rows } = await db.pool.query("select id from graphile_worker._private_jobs");
    const job = rows[0].id;
    await take(job, "pool-a");
    await db.pool.query("select nexus_engine.write_job_runs('pool-a', $1)", [
      JSON.stringify([{ job, attempt: 1, age: 0 }]),
    ]);
    await db.pool.query("select graphile_worker.add_job('probe', '{}', job_key => 'same')");
    assert.deepEqual(await rescue(), [["pool-a", job, "replaced"]]);
    assert.equal(await jobOf(job), undefined);
    assert.equal((await runsOf(db, job))[0]?.outcome, "lost");
    assert.equal((await db.pool.query("select from graphile_worker.jobs")).rowCount, 1);
  });

  it("frees a named queue with its job", async () => {
    await db.pool.query(
      "select graphile_worker.add_job('probe', '{\"name\": \"q\"}', queue_name => 'line')",
    );
    const { rows } = await db.pool.query("select id from graphile_worker._private_jobs");
    await take(rows[0].id, "pool-a");
    await db.pool.query(
      "update graphile_worker._private_job_queues set locked_by = 'pool-a', locked_at = now()",
    );
    await rescue();
    const { rows: queues } = await db.pool.query(
      "select locked_by, is_available from graphile_worker._private_job_queues",
    );
    assert.deepEqual(queues, [{ locked_by: null, is_available: true }]);
  });

  it("frees what a living worker holds without running it, and nothing else", async () => {
    const [running, stranded, young] = await Promise.all(
      ["r", "s", "y"].map((name) => addProbe(db, { name })),
    );
    for (const job of [running, stranded, young]) {
      await db.pool.query(
        `update graphile_worker._private_jobs set locked_by = 'pool-a', attempts = 1,
           locked_at = now() - case when id = $2 then interval '0' else interval '1 minute' end where id = $1`,
        [job, young],
      );
    }
    const { rows } = await db.pool.query(
      "select job_id, fate from nexus_engine.free_stranded('pool-a', $1, '5 seconds')",
      [[running]],
    );
    assert.deepEqual(rows, [{ job_id: stranded, fate: "lost" }]);
  });

  it("waits but a moment for a transaction to free what is stranded, and lets others wait no longer", async () => {
    const [running, stranded] = await Promise.all(["r", "s"].map((name) => addProbe(db, { name })));
    await db.pool.query(
      `update graphile_worker._private_jobs set locked_by = 'pool-a', attempts = 1,
         locked_at = now() - interval '1 minute'`,
    );
    const pool = db.poolAs("nexus_worker");
    const [long, sweeper] = [await pool.connect(), await pool.connect()];
    const sweep = async (runs: (string | undefined)[]) => {
      const { rows } = await sweeper.query(
        "select job_id, fate from nexus_engine.free_stranded('pool-a', $1, '5 seconds')",
        [runs],
      );
      return rows;
    };
    const fences = async () => {
      const { rows } = await db.pool.query(
        `select from pg_locks l join pg_database d on d.oid = l.database
         where l.locktype = 'advisory' and l.mode = 'ExclusiveLock' and d.datname = current_database()`,
      );
      return rows.length;
    };
    try {
      await long.query("begin");
      await long.query("select nexus_engine.begin_work('pool-a', $1, 10000)", [running]);
      await sweeper.query("begin; set local statement_timeout = '1s'");
      assert.deepEqual(await sweep([running]), []);
      await long.query("commit");
      assert.deepEqual(await sweep([running, stranded]), []);
      assert.equal(await fences(), 0, "with nothing stranded there is nothing to lock");
      assert.deepEqual(await sweep([running]), [{ job_id: stranded, fate: "lost" }]);
      assert.equal(await fences(), 1);
    } finally {
      long.release(true);
      sweeper.release(true);
    }
  });

  it("frees what is stranded though the worker is never without a transaction", async () => {
    const [stranded, ...jobs] = await Promise.all(
      ["s", "1", "2", "3", "4"].map((name) => addProbe(db, { name })),
    );
    await db.pool.query(
      `update graphile_worker._private_jobs set locked_by = 'pool-a', attempts = 1,
         locked_at = now() - interval '1 minute'`,
    );
    const pool = db.poolAs("nexus_worker");
    let busy = true;
    const working = jobs.map(async (job, n) => {
      await sleep(n * 20);
      while (busy) {
        const client = await pool.connect();
        await client.query("begin");
        await client.query("select nexus_engine.begin_work('pool-a', $1, 10000)", [job]);
        await client.query("select pg_sleep(0.08)");
        await client.query("commit");
        client.release();
      }
    });
    try {
      await sleep(150);
      const { rows } = await db.pool.query(
        "select job_id, fate from nexus_engine.free_stranded('pool-a', $1, '5 seconds')",
        [jobs],
      );
      assert.deepEqual(rows, [{ job_id: stranded, fate: "lost" }]);
    } finally {
      busy = false;
      await Promise.all(working);
    }
  });

  it("leaves no statement waiting that its guard has given up", async () => {
    const worker = await startProbeWorker(db.url);
    const blocker = await db.pool.connect();
    try {
      await blocker.query("begin; lock table nexus_engine.worker_pool in exclusive mode");
      const waiting = async () => {
        const { rows } = await db.pool.query(
          `select pid from pg_stat_activity
           where datname = current_database() and wait_event_type = 'Lock' and query like '%heartbeat(%'`,
        );
        return rows.map((row) => row.pid);
      };
      await until("the heartbeat waits", async () => (await waiting()).length === 1);
      const [given] = await waiting();
      await until("it does not any more", async () => !(await waiting()).includes(given), 8_000);
    } finally {
      await blocker.query("rollback");
      blocker.release();
      await worker.stop();
    }
  });

  it("lets no job wait for longer than ten minutes", async () => {
    const job = await addProbe(db, { name: "x" });
    await db.pool.query(
      "update graphile_worker._private_jobs set attempts = 9, run_at = now() + interval '2 hours' where id = $1",
      [job],
    );
    await db.pool.query(
      `insert into nexus_engine.job_run (job_id, task, attempt, max_attempts, queued_at, due_at, finished_at, outcome)
       values ($1, 'probe', 9, 25, now(), now(), now(), 'retrying')`,
      [job],
    );
    const { rows } = await db
      .poolAs("nexus_worker")
      .query("select nexus_engine.cap_backoff(now() - interval '1 minute') as capped");
    assert.equal(rows[0].capped, 1);
    const { wait } = await jobOf(job);
    assert.ok(!wait.hours && wait.minutes <= 10 && wait.minutes >= 9);
  });
});
