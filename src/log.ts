import { Logger as GraphileLogger } from "graphile-worker";
import { type Logger, pino } from "pino";

export type { Logger };

/** JSON lines on standard error, so that standard output stays free for what a person reads. */
export function createLog(level: string): Logger {
  return pino(
    { level, base: null, redact: ["payload", "token", "connectionString"] },
    pino.destination(2),
  );
}

const levels = { error: "error", warning: "warn", info: "info", debug: "debug" } as const;

/** Graphile Worker's logger on top of ours; its chatter about every job is debug here. */
export function graphileLogger(log: Logger): GraphileLogger {
  return new GraphileLogger((scope) => (level, message, meta) => {
    // A job's failure is logged where the task ran, with its task and attempt.
    const quiet = level === "info" || meta?.["failure"] ? "debug" : levels[level];
    const error = meta?.["error"];
    log[quiet]({ ...scope, ...(error instanceof Error ? { err: error } : {}) }, message);
  });
}
