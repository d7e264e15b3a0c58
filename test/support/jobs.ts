import { setTimeout as sleep } from "node:timers/promises";
import { runOnce } from "graphile-worker";
import type { Pool } from "pg";
import type { SuspensionWatch } from "../../src/database/suspension.ts";
import { createLog, graphileLogger } from "../../src/log.ts";
import { toGraphileTask } from "../../src/worker/attempt.ts";
import type { TaskDefinition, TaskSettings } from "../../src/worker/define-task.ts";
import { createLedger } from "../../src/worker/ledger.ts";
import { loadTasks } from "../../src/worker/tasks.ts";

export const settings: TaskSettings = {
  jobTimeLimitMs: 10_000,
  storesPerJob: 100,
  insightRetentionDays: 180,
  jobRunRetentionDays: 30,
  jobRunsKept: 1_000_000,
};

/** Runs the jobs that are ready, those they enqueue included, with the tasks of tasks/ or these. */
export async function runJobs(
  pool: Pool,
  options: {
    tasks?: Record<string, TaskDefinition>;
    settings?: Partial<TaskSettings>;
    suspension?: SuspensionWatch;
  } = {},
): Promise<void> {
  const log = createLog("silent");
  const surroundings = {
    settings: { ...settings, ...options.settings },
    log,
    ledger: createLedger(pool, log),
    pool,
    running: new Map(),
    ...(options.suspension && { suspension: options.suspension }),
  };
  const taskList = options.tasks
    ? Object.fromEntries(
        Object.entries(options.tasks).map(([name, task]) => [
          name,
          toGraphileTask(name, task, surroundings),
        ]),
      )
    : await loadTasks(surroundings);
  await runOnce({
    pgPool: pool,
    taskList,
    logger: graphileLogger(log),
    noHandleSignals: true,
    preset: { worker: { completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
  });
  // runOnce can return before the outcome of its last job is written.
  while ((await jobsLeft(pool)).some((job) => job.locked_by)) await sleep(5);
}

export type JobRow = {
  id: string;
  payload: Record<string, unknown>;
  attempts: number;
  max_attempts: number;
  last_error: string | null;
  locked_by: string | null;
};

/** The jobs that are left: waiting, to be retried, or failed for good. */
export async function jobsLeft(pool: Pool): Promise<JobRow[]> {
  const { rows } = await pool.query<JobRow>(
    "select id, payload, attempts, max_attempts, last_error, locked_by from graphile_worker._private_jobs order by id",
  );
  return rows;
}
