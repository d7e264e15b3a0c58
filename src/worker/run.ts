import type { Pool } from "pg";
import { type SuspensionWatch, shareWatch } from "../database/suspension.ts";
import { createHealth, type Health } from "../health.ts";
import type { Logger } from "../log.ts";
import type { Running } from "./attempt.ts";
import { clockAgrees } from "./clock.ts";
import type { TaskSettings } from "./define-task.ts";
import { startHeldUpReports } from "./held-up.ts";
import { createLedger } from "./ledger.ts";
import { type GuardedRunner, startRunner } from "./runner.ts";
import { startStockDrain } from "./stock-drain.ts";
import { loadTasks } from "./tasks.ts";
import { startWatch } from "./watch.ts";
import { startWhileAllowed } from "./while-allowed.ts";

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
  /** Learns whether the work can be done. */
  health?: Health;
  /** Whether the engine may work, where others in this process want to know as well; not stopped here. */
  suspension?: SuspensionWatch;
  /** Folder of the tasks; default: tasks/. */
  tasksDir?: string;
};

export type RunningWorker = {
  /** Settles when the worker ends, rejects when it ends by a fault, such as a lost connection. */
  ended: Promise<void>;
  /** Finishes what runs, hands back what has not begun. */
  stop(): Promise<void>;
};

/**
 * Starts a worker: tasks of tasks/, schedules of crontab, the drain of the stock outbox, and
 * whatever was missed while down; all of it only while this machine's clock agrees with Postgres's, and
 * while the engine is not suspended.
 */
export async function startWorker(options: WorkerOptions): Promise<RunningWorker> {
  const { pool, directPool = pool, log } = options;
  // What is wrong with that way would otherwise be found out by jobs, which fail for good.
  if (pool !== directPool) await pool.query("select 1");
  const { suspension, release } = await shareWatch(options.suspension, directPool, log);
  try {
    const worker = await startSupervised({ ...options, directPool, suspension });
    return {
      ended: worker.ended,
      stop: async () => {
        await worker.stop();
        await release();
      },
    };
  } catch (error) {
    await release();
    throw error;
  }
}

async function startSupervised({
  pool,
  directPool,
  concurrency,
  settings,
  log,
  health = createHealth(),
  suspension,
  tasksDir,
}: WorkerOptions & { directPool: Pool; suspension: SuspensionWatch }): Promise<RunningWorker> {
  const running: Running = new Map();
  const ledger = createLedger(directPool, log);
  const surroundings = { settings, log, health, ledger, pool, running, suspension };
  const taskList = await loadTasks(surroundings, tasksDir);
  const watch = startWatch(directPool, Object.keys(taskList), log, suspension);
  const start = async () => {
    const stockDrain = startStockDrain(directPool, log, health, suspension);
    const heldUpReports = startHeldUpReports(directPool, log, suspension);
    let runner: GuardedRunner | undefined;
    const stop = async () => {
      await Promise.all([stockDrain.stop(), heldUpReports.stop()]);
      await runner?.stop();
    };
    try {
      runner = await startRunner({ pool: directPool, concurrency, taskList, running, log });
      await catchUp(directPool);
    } catch (error) {
      await stop();
      await suspension.explain(error);
      throw error;
    }
    return { ended: runner.ended, stop };
  };
  const notSuspended = {
    holds: async () => suspension.current() === undefined,
    onChange: suspension.onChange,
  };
  try {
    const conditions = [clockAgrees(directPool, log), notSuspended];
    const worker = await startWhileAllowed({ conditions, start, log });
    return {
      ended: worker.ended,
      stop: async () => {
        await watch.stop();
        await worker.stop();
      },
    };
  } catch (error) {
    await watch.stop();
    throw error;
  }
}

/** What is due is computed from state, so one pass over everything makes good any time down. */
async function catchUp(pool: Pool): Promise<void> {
  await pool.query(
    "select graphile_worker.add_job('generate_all_insights', job_key => 'generate_all_insights:start', max_attempts => 5)",
  );
}
