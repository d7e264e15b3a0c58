import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import type { Pool } from "pg";
import { createLog, type Logger } from "../../src/log.ts";
import { startWorker } from "../../src/worker/run.ts";
import { tasksDir } from "../../src/worker/tasks.ts";
import { lookOnce } from "../../src/worker/watch.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addSale, addStore } from "../support/fixtures.ts";
import { jobsLeft, runJobs, settings } from "../support/jobs.ts";
import { setClockAhead } from "../support/shifted_clock.ts";
import { until } from "../support/until.ts";

const hours = 3_600_000;
const days = 24 * hours;

describe("the time", () => {
  let db: TestDatabase;
  let worker: Pool;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
  });
  let stop = async () => {};
  afterEach(async () => {
    setClockAhead(0);
    await stop();
    await db.pool.query(
      `delete from graphile_worker._private_jobs; delete from graphile_worker._private_known_crontabs;
       truncate nexus_engine.look`,
    );
  });
  after(() => db.drop());

  type Line = { level: string; msg: string; task: string; jobs: number; oldest: string };
  const listeningLog = () => {
    const lines: Line[] = [];
    return {
      lines,
      log: createLog("info", { write: (line) => lines.push(JSON.parse(line)) }),
      said: (level: string) => lines.filter((line) => line.level === level).map(({ msg }) => msg),
    };
  };

  it("is asked of the machine by nobody who works", () => {
    const sources = [tasksDir, join(tasksDir, "../src/worker")].flatMap((dir) =>
      readdirSync(dir)
        .filter((file) => file.endsWith(".ts"))
        .map((file) => join(dir, file)),
    );
    const asking = sources.filter((file) =>
      /\bnew Date\(\)|\bDate\.now\b/.test(readFileSync(file, "utf8")),
    );
    assert.deepEqual(asking, [join(tasksDir, "../src/worker/clock.ts")]);
  });

  it("of a worker three hours ahead writes no summary of a day that is not over", async () => {
    const { rows } = await db.pool.query(
      "select ((now() + interval '90 minutes') at time zone 'UTC')::time::text as at",
    );
    const store = await addStore(db.pool, {
      settings: { time_zone: "UTC", day_starts_at: rows[0].at, summary_time: rows[0].at },
    });
    for (const hoursAgo of [1, 30, 54, 78]) {
      await addSale(db.pool, store, { fecha: new Date(Date.now() - hoursAgo * hours), total: 9 });
    }
    const summaries = async () => {
      await db.pool.query("select graphile_worker.add_job('generate_all_insights')");
      await runJobs(worker);
      assert.deepEqual(await jobsLeft(db.pool), []);
      const found = await db.pool.query(
        "select id, tipo, mensaje, is_active from public.insights where tienda_id = $1 order by id",
        [store],
      );
      return found.rows;
    };
    const right = await summaries();
    assert.ok(right.length > 0);
    setClockAhead(3 * hours);
    assert.deepEqual(await summaries(), right);
  });

  const busyWorker = async (log: Logger) => {
    const running = await startWorker({
      pool: db.poolAs("nexus_worker", 8),
      concurrency: 2,
      settings,
      log,
    });
    stop = () => running.stop();
    const pools = async () =>
      (await db.pool.query("select from nexus_engine.worker_pool")).rowCount ?? 0;
    const warnings = async () => {
      const { rows } = await db
        .poolAs("nexus_server", 1)
        .query("select message from nexus_engine.clock_warnings() where code = 'WORKER_CLOCK'");
      return rows.map(({ message }) => message);
    };
    return { running, pools, warnings };
  };

  it("that is wrong at a worker's start keeps it from work until it is right, and is said once", async () => {
    const { log, said } = listeningLog();
    setClockAhead(-10_000);
    const { running, pools, warnings } = await busyWorker(log);
    await db.pool.query("select graphile_worker.add_job('purge')");
    await until("it is noted", async () => (await warnings()).length > 0);
    assert.match(
      (await warnings())[0],
      / is (9|10) s behind Postgres's: that worker takes no work/,
    );
    assert.equal(await pools(), 0);
    const unstarted = await jobsLeft(db.pool);
    assert.deepEqual(
      unstarted.map(({ attempts }) => attempts),
      [0],
    );
    setClockAhead(0);
    await until("the job is done", async () => (await jobsLeft(db.pool)).length === 0);
    assert.deepEqual(await warnings(), []);
    await running.stop();
    assert.equal(said("error").length, 1);
    assert.match(said("error")[0] ?? "", /^this machine's clock is (9|10) s behind Postgres's: /);
    assert.equal(await pools(), 0);
  });

  it("that goes wrong and right again under a worker stops its work for so long", async () => {
    const { log, said } = listeningLog();
    const { running, pools } = await busyWorker(log);
    await until("it works", async () => (await pools()) === 1);
    let ended = false;
    void running.ended.finally(() => {
      ended = true;
    });
    setClockAhead(2 * days);
    await until("it stops", async () => (await pools()) === 0);
    const { rows } = await db.pool.query(
      "select from graphile_worker._private_known_crontabs where last_execution > now() + interval '1 minute'",
    );
    assert.equal(rows.length, 0);
    setClockAhead(0);
    await until("it works", async () => (await pools()) === 1);
    assert.equal(ended, false);
    await running.stop();
    await running.ended;
    assert.equal(said("error").length, 1);
    assert.match(said("error")[0] ?? "", /48 h ahead of Postgres's/);
  });

  it("of seconds is nothing to speak of", async () => {
    const { log, said } = listeningLog();
    setClockAhead(3_000);
    const { running, pools } = await busyWorker(log);
    await until("it works", async () => (await pools()) === 1);
    await until("it has caught up", async () => (await jobsLeft(db.pool)).length === 0);
    await running.stop();
    assert.deepEqual([...said("warn"), ...said("error")], []);
  });

  it("of schedules that ran in the future is set right, as are their jobs", async () => {
    await db.pool.query(
      `insert into graphile_worker._private_known_crontabs (identifier, known_since, last_execution) values
         ('roll_up', now() - interval '9 days', now() + interval '2 days'),
         ('new', now() + interval '2 days', null),
         ('stock', now() - interval '9 days', now() - interval '8 minutes')`,
    );
    const cron = async (task: string, at: string, attempts = 0) => {
      const { rows } = await db.pool.query(
        `select id from graphile_worker.add_job($1,
           json_build_object('_cron', json_build_object('ts', now())), run_at => now() + $2::interval)`,
        [task, at],
      );
      await db.pool.query("update graphile_worker._private_jobs set attempts = $2 where id = $1", [
        rows[0].id,
        attempts,
      ]);
    };
    await cron("roll_up", "2 days");
    await cron("roll_up", "2 days 5 minutes");
    await cron("purge", "6 hours");
    await cron("check_stock", "5 minutes", 3);
    await cron("check_rollups", "-1 minutes");
    // What somebody wants to be done later.
    await db.pool.query(
      "select graphile_worker.add_job('refresh_stores', '[]', run_at => now() + interval '1 day')",
    );
    const { log, said } = listeningLog();
    await lookOnce(worker, [], log);
    assert.match(said("error").join(), /^schedules had run in the future/);
    const known = await db.pool.query(
      `select identifier, known_since <= now() as was_known, last_execution < now() as has_run
       from graphile_worker._private_known_crontabs order by identifier`,
    );
    assert.deepEqual(known.rows, [
      { identifier: "new", was_known: true, has_run: null },
      { identifier: "roll_up", was_known: true, has_run: true },
      { identifier: "stock", was_known: true, has_run: true },
    ]);
    const { rows: due } = await db.pool.query(
      "select task_identifier as task, run_at <= now() as is_due from graphile_worker.jobs order by 1",
    );
    assert.deepEqual(due, [
      { task: "check_rollups", is_due: true },
      { task: "check_stock", is_due: false },
      { task: "purge", is_due: true },
      { task: "refresh_stores", is_due: false },
      { task: "roll_up", is_due: true },
    ]);
    await lookOnce(worker, [], log);
    assert.equal(said("error").length, 1);
  });

  it("of an hour passes before jobs without a task are told of again", async () => {
    const add = (task: string, runAt: string) =>
      db.pool.query("select graphile_worker.add_job($1, run_at => now() + $2::interval)", [
        task,
        runAt,
      ]);
    const { log, said, lines } = listeningLog();
    const look = () => lookOnce(worker, ["purge"], log);
    await add("purge", "-2 hours");
    await add("prge", "1 hour");
    await add("prge", "-10 seconds");
    await look();
    assert.deepEqual(said("warn"), []);
    await add("prge", "-3 hours");
    await add("prge", "-2 hours");
    await add('it\'s "odd"\u{1f600}%s\n', "-999 years");
    await look();
    const told = lines.splice(0).map(({ task, jobs, oldest }) => ({ task, jobs, oldest }));
    assert.deepEqual(
      told.map(({ task, jobs }) => [task, jobs]),
      [
        ['it\'s "odd"\u{1f600}%s\n', 1],
        ["prge", 2],
      ],
    );
    for (const { oldest } of told) assert.ok(Date.now() - Date.parse(oldest) < 60_000);
    await look();
    assert.deepEqual(lines, []);
    await db.pool.query("update nexus_engine.look set looked_at = looked_at - interval '1 hour'");
    await Promise.all([look(), look()]);
    assert.equal(said("warn").length, 2);
  });
});
