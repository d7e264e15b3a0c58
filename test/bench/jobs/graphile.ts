import { join } from "node:path";
import { run } from "graphile-worker";
import type { Pool } from "pg";
import { createPool } from "../../../src/database/pools.ts";
import { createLog, graphileLogger } from "../../../src/log.ts";
import { startWorker } from "../../../src/worker/run.ts";
import type { Contender, ContenderOptions } from "./contender.ts";
import { starts } from "./starts.ts";

const log = createLog("warn");

/** Our worker as it is, with everything around the task. */
export async function openOurs({ url, concurrency }: ContenderOptions): Promise<Contender> {
  const pool = openPool(url, concurrency);
  return contender(pool, async () => {
    const worker = await startWorker({
      pool,
      concurrency,
      settings: {
        jobTimeLimitMs: 1_800_000,
        storesPerJob: 100,
        insightRetentionDays: 180,
        jobRunRetentionDays: 30,
        jobRunsKept: 1_000_000,
      },
      log,
      tasksDir: join(import.meta.dirname, "tasks"),
    });
    return () => worker.stop();
  });
}

/** Graphile Worker alone, with our settings besides these. */
export async function openBare({ url, concurrency, batch }: ContenderOptions): Promise<Contender> {
  const pool = openPool(url, concurrency);
  return contender(pool, async () => {
    const runner = await run({
      pgPool: pool,
      concurrency,
      taskList: { trivial: async (payload) => starts.tell((payload as { n: number }).n) },
      parsedCronItems: [],
      noHandleSignals: true,
      pollInterval: 1000,
      logger: graphileLogger(log),
      preset: {
        worker: {
          completeJobBatchDelay: 0,
          failJobBatchDelay: 0,
          ...(batch > 0 ? { localQueue: { size: batch } } : {}),
        },
      },
    });
    return () => runner.stop();
  });
}

function openPool(url: string, concurrency: number): Pool {
  return createPool({
    connectionString: url,
    log,
    max: concurrency + 6,
    name: "nexus-bench-jobs",
    role: "nexus_worker",
  });
}

async function contender(
  pool: Pool,
  start: () => Promise<() => Promise<void>>,
): Promise<Contender> {
  let stop = async () => {};
  const client = await pool.connect();
  return {
    async fill(count) {
      await client.query(
        `select graphile_worker.add_jobs(array(
           select row('trivial', json_build_object('n', n), null, null, null, null, null, null)::graphile_worker.job_spec
           from generate_series(0, $1 - 1) n))`,
        [count],
      );
    },
    async work(onStart) {
      starts.tell = onStart;
      stop = await start();
    },
    async enqueue(n) {
      await client.query("begin");
      await client.query(
        "select graphile_worker.add_job('trivial', json_build_object('n', $1::int))",
        [n],
      );
      const sent = performance.now();
      await client.query("commit");
      return sent;
    },
    async left() {
      const { rows } = await client.query<{ left: number }>(
        "select count(*)::int as left from graphile_worker.jobs where task_identifier = 'trivial'",
      );
      return rows[0]?.left ?? 0;
    },
    async end() {
      await stop();
      client.release();
      await pool.end();
    },
  };
}
