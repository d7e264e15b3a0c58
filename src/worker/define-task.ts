import type { ClientBase } from "pg";
import type { z } from "zod";
import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";

export { PermanentError } from "./failure.ts";

export type TaskSettings = Pick<
  Config,
  "jobTimeLimitMs" | "storesPerJob" | "insightRetentionDays" | "jobRunRetentionDays" | "jobRunsKept"
>;

export type TaskContext<Payload> = {
  payload: Payload;
  /** Aborted at the time limit, by an operator's cancellation and by a shutdown that cannot wait. */
  signal: AbortSignal;
  log: Logger;
  settings: TaskSettings;
  /** True when no attempt will follow this one. */
  lastAttempt: boolean;
  /**
   * Runs `work` in one transaction, if the job is still this worker's. When `signal` is aborted its
   * SQL is cancelled and it is rolled back; begun after that it may last ten seconds, to write down
   * how the job ended.
   */
  transaction<T>(work: (client: ClientBase) => Promise<T>): Promise<T>;
};

export type TaskDefinition<Payload = unknown> = {
  payload: z.ZodType<Payload>;
  /** Default: JOB_TIME_LIMIT_SECONDS. */
  timeLimitMs?: number;
  /** What it returns is logged, and kept in the ledger as the attempt's counts. */
  run(context: TaskContext<Payload>): Promise<Record<string, unknown> | undefined>;
};

/** A task of tasks/: what it accepts, and what it does. The file's name is the task's identifier. */
export function defineTask<Payload>(definition: TaskDefinition<Payload>): TaskDefinition<Payload> {
  return definition;
}
