import { EventEmitter } from "node:events";
import { join } from "node:path";
import { type Runner, run, type TaskList, type WorkerEvents } from "graphile-worker";
import type { Notification, Pool } from "pg";
import { graphileLogger, type Logger } from "../log.ts";
import { within } from "../within.ts";
import type { Running } from "./attempt.ts";
import { type Guard, startGuard } from "./guard.ts";

const crontabFile = join(import.meta.dirname, "../../crontab");

/** How long a stop waits for the jobs that run, before it ends them. */
const drainMs = 15_000;
/** How long it then waits for their outcomes to be written: without Postgres that never ends. */
const outcomesMs = 3_000;

export type RunnerOptions = {
  /** Straight to Postgres. */
  pool: Pool;
  concurrency: number;
  taskList: TaskList;
  running: Running;
  log: Logger;
};

export type GuardedRunner = {
  /** Settles when it has ended and all its jobs are free; rejects with the fault that ended it. */
  ended: Promise<void>;
  stop(): Promise<void>;
};

/** One of Graphile Worker's runners, which takes no job before its guard stands. */
export async function startRunner({
  pool,
  concurrency,
  taskList,
  running,
  log,
}: RunnerOptions): Promise<GuardedRunner> {
  let guard: Guard | undefined;
  const events = new EventEmitter() as WorkerEvents;
  events.on("pool:create", ({ workerPool }) => {
    guard = startGuard({ pool, worker: workerPool.id, running, log });
  });
  const migration = await breakingMigration(pool);
  events.on("pool:listen:notification", ({ message, workerPool }) => {
    if (!disarm(message)) return;
    breakingMigration(pool).then(
      (latest) => {
        // How that goes is told by `ended`.
        if (latest > migration) Promise.resolve(workerPool.gracefulShutdown()).catch(() => {});
      },
      (err: unknown) => log.warn({ err }, "could not look for migrations of the queue"),
    );
  });
  // Not runner.promise: when outcomes cannot be written the pool shuts down, and then that resolves, or
  // never settles, because its batcher counts itself below zero, or waits for cron's back-off of up to
  // 90 seconds. When this settles every task has ended.
  const idle = Promise.withResolvers<void>();
  events.once("pool:gracefulShutdown:complete", () => idle.resolve());
  events.once("pool:gracefulShutdown:error", ({ error }) => idle.reject(error));
  let runner: Runner;
  try {
    runner = await run({
      pgPool: pool,
      concurrency,
      taskList,
      crontabFile,
      noHandleSignals: true,
      pollInterval: 1000,
      events,
      logger: graphileLogger(log),
      preset: {
        plugins: [
          {
            name: "NexusGuardPlugin",
            version: "1.0.0",
            worker: { hooks: { startWorker: () => guard?.ready } },
          },
        ],
        worker: {
          // Without these two a graceful stop can leave finished jobs locked.
          completeJobBatchDelay: 0,
          failJobBatchDelay: 0,
          gracefulShutdownAbortTimeout: drainMs,
        },
      },
    });
  } catch (error) {
    await guard?.leave();
    throw error;
  }
  const ended = idle.promise.finally(() => guard?.leave());
  ended.catch(() => {});
  return {
    ended,
    stop: async () => {
      // One that has ended by itself refuses to be stopped.
      const stopped = runner.stop().catch(() => {});
      await ended.catch(() => {});
      await within(outcomesMs, stopped).catch(() => {});
    },
  };
}

/** The latest migration of the queue that workers of before do not get along with. */
async function breakingMigration(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ id: number }>(
    "select coalesce(max(m.id), 0) as id from graphile_worker.migrations m where m.breaking",
  );
  return rows[0]?.id ?? 0;
}

/**
 * Takes what it says out of a notification of a migration, at which Graphile Worker would stop: whoever may
 * connect may send one. Whether there was a migration is for us to look up. False for any other.
 */
function disarm(message: Notification): boolean {
  if (message.channel !== "worker:migrate") return false;
  message.payload = "";
  return true;
}
