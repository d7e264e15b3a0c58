import { setTimeout as sleep } from "node:timers/promises";
import type { Pool } from "pg";
import type { Logger } from "../log.ts";
import type { Running } from "./attempt.ts";
import type { TaskSettings } from "./define-task.ts";
import { createLedger } from "./ledger.ts";
import { startRunner } from "./runner.ts";
import { startStockDrain } from "./stock-drain.ts";
import { loadTasks } from "./tasks.ts";

const restartMs = { first: 500, most: 10_000 };

export type WorkerOptions = {
  /** Connections of the role nexus_worker for the tasks' transactions; at least `concurrency`. */
  pool: Pool;
  /**
   * The same, straight to Postgres where `pool` goes through a pooler: for the queue, and what listens
   * or holds a lock. At least six. Default: `pool`, which then needs concurrency + 6.
   */
  directPool?: Pool;
  concurrency: number;
  settings: TaskSettings;
  log: Logger;
  /** Folder of the tasks; default: tasks/. */
  tasksDir?: string;
};

export type RunningWorker = {
  /** Settles when the worker ends, rejects when it ends by a fault that a restart cannot mend. */
  ended: Promise<void>;
  /** Finishes what runs, hands back what has not begun. */
  stop(): Promise<void>;
};

/**
 * Starts a worker: tasks of tasks/, schedules of crontab, the drain of the stock outbox, and
 * whatever was missed while down. Loses it its connection, it begins anew by itself.
 */
export async function startWorker({
  pool,
  directPool = pool,
  concurrency,
  settings,
  log,
  tasksDir,
}: WorkerOptions): Promise<RunningWorker> {
  const running: Running = new Map();
  const ledger = createLedger(directPool, log);
  const taskList = await loadTasks({ settings, log, ledger, pool, running }, tasksDir);
  const start = async () => {
    const runner = await startRunner({ pool: directPool, concurrency, taskList, running, log });
    await catchUp(directPool);
    return runner;
  };
  const stopping = new AbortController();
  const stockDrain = startStockDrain(directPool, log);
  let runner = await start().catch(async (error: unknown) => {
    await stockDrain.stop();
    throw error;
  });

  async function supervise(): Promise<void> {
    for (;;) {
      const fault = await runner.ended.then(
        () => undefined,
        (error: unknown) => error ?? new Error("ended by a fault"),
      );
      // Without a fault it was told to: by us, or by a migration that needs newer code.
      if (fault === undefined || stopping.signal.aborted) return;
      log.error({ err: fault }, "the worker ended by a fault, starting it again");
      for (let waitMs = restartMs.first; ; waitMs = Math.min(waitMs * 2, restartMs.most)) {
        await sleep(waitMs * (0.5 + Math.random() / 2), undefined, {
          signal: stopping.signal,
        }).catch(() => {});
        if (stopping.signal.aborted) return;
        try {
          runner = await start();
          break;
        } catch (err) {
          log.error({ err }, "the worker could not start, trying again");
        }
      }
    }
  }

  const ended = supervise();
  return {
    ended,
    stop: async () => {
      stopping.abort();
      await stockDrain.stop();
      await runner
        .stop()
        .catch((err: unknown) => log.error({ err }, "the worker's stop was not clean"));
      await ended;
    },
  };
}

/** What is due is computed from state, so one pass over everything makes good any time down. */
async function catchUp(pool: Pool): Promise<void> {
  await pool.query(
    "select graphile_worker.add_job('generate_all_insights', job_key => 'generate_all_insights:start', max_attempts => 5)",
  );
}
