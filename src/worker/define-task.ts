import type { JobHelpers, Task } from "graphile-worker";
import type { ClientBase } from "pg";
import type { z } from "zod";
import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";

/** An error that no retry can mend: the attempt that throws it is the job's last. */
export class PermanentError extends Error {
  override name = "PermanentError";
}

export type TaskSettings = Pick<Config, "jobTimeLimitMs" | "storesPerJob" | "insightRetentionDays">;

export type TaskContext<Payload> = {
  payload: Payload;
  /** The time limit's and the shutdown's signal. */
  signal: AbortSignal;
  log: Logger;
  settings: TaskSettings;
  /** True when no attempt will follow this one. */
  lastAttempt: boolean;
  /**
   * Runs `work` in one transaction, whose statements Postgres cancels at the job's time limit;
   * begun after the limit it may last ten seconds more, to write down how the job ended.
   */
  transaction<T>(work: (client: ClientBase) => Promise<T>): Promise<T>;
};

export type TaskDefinition<Payload = unknown> = {
  payload: z.ZodType<Payload>;
  /** Default: JOB_TIME_LIMIT_SECONDS. */
  timeLimitMs?: number;
  /** What it returns is logged. */
  run(context: TaskContext<Payload>): Promise<Record<string, unknown> | undefined>;
};

/** A task of tasks/: what it accepts, and what it does. The file's name is the task's identifier. */
export function defineTask<Payload>(definition: TaskDefinition<Payload>): TaskDefinition<Payload> {
  return definition;
}

/**
 * What Graphile Worker runs: checks the payload, sets the time limit, gives the task its logger and
 * makes a permanent error the job's last attempt.
 */
export function toGraphileTask(
  identifier: string,
  definition: TaskDefinition,
  settings: TaskSettings,
  parentLog: Logger,
): Task {
  const timeLimitMs = definition.timeLimitMs ?? settings.jobTimeLimitMs;
  return async (rawPayload, helpers) => {
    const { job } = helpers;
    const log = parentLog.child({ task: identifier, job: job.id, attempt: job.attempts });
    const started = performance.now();
    const limit = AbortSignal.timeout(timeLimitMs);
    try {
      const result = await definition.run({
        payload: parsePayload(identifier, definition.payload, rawPayload),
        signal: AbortSignal.any([limit, helpers.abortSignal]),
        log,
        settings,
        lastAttempt: job.attempts >= job.max_attempts,
        transaction: (work) => inTransaction(helpers, started + timeLimitMs, work),
      });
      log.info({ ...result, ms: Math.round(performance.now() - started) }, "done");
    } catch (error) {
      const permanent = error instanceof PermanentError;
      log.error({ err: error, permanent, timedOut: limit.aborted }, "failed");
      if (permanent) await helpers.query("select nexus_engine.give_up($1)", [job.id]);
      throw error;
    }
  };
}

/** The checked payload, or a PermanentError that says which field, what was expected, what came. */
function parsePayload<Payload>(
  identifier: string,
  schema: z.ZodType<Payload>,
  raw: unknown,
): Payload {
  const parsed = schema.safeParse(raw ?? {}, { reportInput: true });
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => {
    const field = ["payload", ...issue.path].join(".");
    return `${field}: ${issue.message}, got ${shown(issue.input)}`;
  });
  throw new PermanentError(`${identifier}: ${problems.join("; ")}`);
}

function shown(input: unknown): string {
  const text = JSON.stringify(input) ?? String(input);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

async function inTransaction<T>(
  helpers: JobHelpers,
  deadline: number,
  work: (client: ClientBase) => Promise<T>,
): Promise<T> {
  return helpers.withPgClient(async (client) => {
    const remaining = Math.ceil(deadline - performance.now());
    await client.query("begin");
    try {
      await client.query("select set_config('statement_timeout', $1, true)", [
        String(remaining > 0 ? remaining : 10_000),
      ]);
      const result = await work(client);
      await client.query("commit");
      return result;
    } catch (error) {
      await client.query("rollback").catch(() => {});
      throw error;
    }
  });
}
