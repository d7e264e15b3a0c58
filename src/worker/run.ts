import { join } from "node:path";
import { run } from "graphile-worker";
import type { Pool } from "pg";
import { graphileLogger, type Logger } from "../log.ts";
import type { TaskSettings } from "./define-task.ts";
import { startStockDrain } from "./stock-drain.ts";
import { loadTasks } from "./tasks.ts";

const crontabFile = join(import.meta.dirname, "../../crontab");

export type WorkerOptions = {
  /** Connections of the role nexus_worker; at least concurrency + 3. */
  pool: Pool;
  concurrency: number;
  settings: TaskSettings;
  log: Logger;
};

export type RunningWorker = {
  /** Settles when the worker ends, rejects when it ends by a fault. */
  ended: Promise<void>;
  /** Finishes what runs, hands back what has not begun. */
  stop(): Promise<void>;
};

/**
 * Starts a worker: tasks of tasks/, schedules of crontab, the drain of the stock outbox, and
 * whatever was missed while down.
 */
export async function startWorker({
  pool,
  concurrency,
  settings,
  log,
}: WorkerOptions): Promise<RunningWorker> {
  const runner = await run({
    pgPool: pool,
    concurrency,
    taskList: await loadTasks(settings, log),
    crontabFile,
    noHandleSignals: true,
    pollInterval: 1000,
    logger: graphileLogger(log),
    preset: {
      worker: {
        // Without these two a graceful stop can leave finished jobs locked for four hours.
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
  });
  await catchUp(pool);
  const stockDrain = startStockDrain(pool, log);
  return {
    ended: runner.promise,
    stop: async () => {
      await stockDrain.stop();
      await runner.stop();
    },
  };
}

/** What is due is computed from state, so one pass over everything makes good any time down. */
async function catchUp(pool: Pool): Promise<void> {
  await pool.query(
    "select graphile_worker.add_job('generate_all_insights', job_key => 'generate_all_insights:start', max_attempts => 5)",
  );
}
