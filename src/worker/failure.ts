import { createHash } from "node:crypto";
import { codeOf } from "../database/away.ts";

/** An error that no retry can mend: the attempt that throws it is the job's last. */
export class PermanentError extends Error {
  override name = "PermanentError";
  code = "PERMANENT";
}

/** The payload is not what the task accepts. */
export class PayloadError extends PermanentError {
  override name = "PayloadError";
  override code = "PAYLOAD";
}

/** An operator ended the job, see nexus_engine.cancel_job. */
export class CancelledError extends PermanentError {
  override name = "CancelledError";
  override code = "CANCELLED";
}

/** The job ran longer than it may; with the code of Postgres's own time-out. */
export class TimeLimitError extends Error {
  override name = "TimeLimitError";
  code = "57014";
}

/** The worker stops and could not wait any longer; the attempt does not count. */
export class ShutdownError extends Error {
  override name = "ShutdownError";
  code = "SHUTDOWN";
}

/** The engine may not work at this moment; the attempt does not count. */
export class SuspendedError extends Error {
  override name = "SuspendedError";
  code = "SUSPENDED";
}

export type Failure = {
  outcome: "failed" | "retrying" | "timed_out" | "cancelled";
  /** A SQLSTATE, a code of Node, or one of the classes above. */
  code: string;
  message: string;
};

/**
 * SQLSTATE classes that say nothing about the job: connection, a server that is read-only after a
 * failover, serialization, resources, locks, time-outs and shutdowns, the system, a fault in Postgres.
 */
const passing = new Set(["08", "25", "40", "53", "55", "57", "58", "XX"]);

/**
 * What an error means for its job.
 * @param aborted why the job's signal was aborted, if it was.
 */
export function describeFailure(error: unknown, aborted: unknown, lastAttempt: boolean): Failure {
  const cause =
    aborted instanceof CancelledError || aborted instanceof ShutdownError ? aborted : error;
  const code = kept(codeOf(cause) ?? (cause instanceof Error ? cause.name : "UNKNOWN"));
  const message = kept(messageOf(cause) || code);
  if (cause instanceof CancelledError) return { outcome: "cancelled", code, message };
  if (cause instanceof ShutdownError || cause instanceof SuspendedError) {
    return { outcome: "retrying", code, message };
  }
  // Postgres cancels by the same limit, and may be a moment ahead of our own clock.
  if (code === "57014" || (aborted instanceof TimeLimitError && !isPermanent(error))) {
    return { outcome: "timed_out", code: "57014", message };
  }
  return { outcome: lastAttempt || isPermanent(error) ? "failed" : "retrying", code, message };
}

/** Whether no retry can mend it, so that the attempt is the job's last whatever it has left. */
export function isPermanent(error: unknown): boolean {
  if (error instanceof PermanentError) return true;
  const code = codeOf(error);
  // No SQLSTATE begins with E, while Node's codes all do.
  if (code !== undefined && /^(?!E)[0-9A-Z]{5}$/.test(code)) return !passing.has(code.slice(0, 2));
  return [TypeError, RangeError, ReferenceError, SyntaxError].some((kind) => error instanceof kind);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Of a longer message the ledger and the queue keep how it begins. */
const keptLength = 4_000;

/** As Postgres can keep it: no zero byte, no half characters, and not a message as long as a payload. */
function kept(message: string): string {
  const text = message.toWellFormed().replaceAll("\0", "\\0");
  if (text.length <= keptLength) return text;
  const hash = createHash("sha256").update(text).digest("hex");
  return `${text.slice(0, keptLength).toWellFormed()}… (${text.length} characters, SHA-256 ${hash})`;
}
