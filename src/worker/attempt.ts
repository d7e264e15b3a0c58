import type { Task } from "graphile-worker";
import type { Pool } from "pg";
import type { z } from "zod";
import { isAway } from "../database/away.ts";
import type { SuspensionWatch } from "../database/suspension.ts";
import { expectation } from "../expectations.ts";
import type { Health } from "../health.ts";
import type { Logger } from "../log.ts";
import type { TaskDefinition, TaskSettings } from "./define-task.ts";
import {
  describeFailure,
  type Failure,
  PayloadError,
  ShutdownError,
  SuspendedError,
  TimeLimitError,
} from "./failure.ts";
import type { Ledger } from "./ledger.ts";
import { inTransaction } from "./transaction.ts";

/** A payload can be wrong in a hundred thousand places. */
const shownProblems = 5;

/** What an aborted task has left to write down how it ended, before its slot is given to another job. */
const farewellMs = 10_000;

/**
 * SQLSTATEs that would fail other jobs as well, besides those of a database that is away: no connection, no
 * write, no isolation, no rights, no such table or another one than a moment ago, no resources.
 */
const notTheJobs = /^(08|0A|25|28|3D|40|42|53|57P|58|XX)...?/;

/** The jobs that this process runs, by id: how to end each. */
export type Running = Map<string, AbortController>;

export type Surroundings = {
  settings: TaskSettings;
  log: Logger;
  health?: Health;
  ledger: Ledger;
  /** Connections for the tasks' transactions. */
  pool: Pool;
  running: Running;
  /** Whether the engine may work. */
  suspension?: Pick<SuspensionWatch, "current" | "explains">;
};

/**
 * What Graphile Worker runs for one task: checks the payload, sets the time limit, gives the task its
 * logger and its transactions, and writes down how the attempt ended before Graphile Worker is told.
 */
export function toGraphileTask(
  identifier: string,
  definition: TaskDefinition,
  { settings, log: parentLog, health, ledger, pool, running, suspension }: Surroundings,
): Task {
  const timeLimitMs = definition.timeLimitMs ?? settings.jobTimeLimitMs;
  return async (rawPayload, { job, abortSignal: shutdown }) => {
    const log = parentLog.child({ task: identifier, job: job.id, attempt: job.attempts });
    const began = performance.now();
    const lastAttempt = job.attempts >= job.max_attempts;
    const run = ledger.begin(job);
    const aborting = new AbortController();
    const { signal } = aborting;
    const limit = setTimeout(() => {
      aborting.abort(new TimeLimitError(`ran longer than its limit of ${timeLimitMs} ms`));
    }, timeLimitMs);
    const onShutdown = () => aborting.abort(new ShutdownError("the worker stopped"));
    shutdown?.addEventListener("abort", onShutdown, { once: true });
    running.set(job.id, aborting);
    let counts: Record<string, unknown> | undefined;
    let failure: Failure | undefined;
    let failed: unknown;
    try {
      const payload = parsePayload(identifier, definition.payload, rawPayload);
      run.tiendas = storesOf(payload);
      const work = definition.run({
        payload,
        signal,
        log: run.tiendas?.length === 1 ? log.child({ tienda: run.tiendas[0] }) : log,
        settings,
        lastAttempt,
        transaction: (act) =>
          inTransaction(
            pool,
            job,
            { signal, deadline: began + timeLimitMs, farewellMs },
            act,
          ).catch(async (error: unknown) => {
            if (!(await suspension?.explains(error))) throw error;
            throw new SuspendedError(`suspended: ${suspension?.current()?.reason}`, {
              cause: error,
            });
          }),
      });
      counts = await orGivenUp(work, signal, log);
    } catch (error) {
      failed = error;
      failure = describeFailure(error, signal.reason, lastAttempt);
    } finally {
      clearTimeout(limit);
      shutdown?.removeEventListener("abort", onShutdown);
    }
    const ms = Math.round(performance.now() - began);
    if (failed instanceof SuspendedError) log.warn({ ms }, "suspended, is done again afterwards");
    else if (failure) log.error({ err: failed, outcome: failure.outcome, ms }, "failed");
    else log[didNothing(counts) ? "debug" : "info"]({ ...counts, ms }, "done");
    if (!failure) health?.succeeded("every task");
    else if (
      !(failed instanceof SuspendedError) &&
      (notTheJobs.test(failure.code) || isAway(failed))
    ) {
      health?.failed("every task", failed, job.id);
    }
    const kept = await run.finish(failure ?? { outcome: "succeeded", counts }).finally(() => {
      // A worker that was frozen for long, and robbed, may be running its next attempt already.
      if (running.get(job.id) === aborting) running.delete(job.id);
    });
    // Graphile Worker then fails the job only if it still is this worker's.
    if (!kept)
      throw new Error("the job was taken away, because the worker did not answer for too long");
    if (failure) throw new Error(failure.message, { cause: failed });
  };
}

/** Waits for the task, but for one that goes on though it was aborted only so long. */
async function orGivenUp<T>(work: Promise<T>, signal: AbortSignal, log: Logger): Promise<T> {
  const givenUp = Promise.withResolvers<never>();
  let timer: NodeJS.Timeout | undefined;
  const onAbort = () => {
    timer = setTimeout(() => {
      log.warn("goes on though it was aborted; its slot is free again");
      givenUp.reject(signal.reason);
    }, farewellMs + 1_000);
  };
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, givenUp.promise]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    work.catch(() => {});
  }
}

/** The checked payload, or a PayloadError that says which field, what was expected, what came. */
function parsePayload<Payload>(
  identifier: string,
  schema: z.ZodType<Payload>,
  raw: unknown,
): Payload {
  const parsed = schema.safeParse(raw ?? {}, { reportInput: true, error: expectation });
  if (parsed.success) return parsed.data;
  const { issues } = parsed.error;
  const problems = issues.slice(0, shownProblems).flatMap((issue) => {
    const field = ["payload", ...issue.path].map((key) => cut(String(key))).join(".");
    if (issue.code !== "unrecognized_keys") {
      return [`${field}: ${cut(issue.message)}, got ${shown(issue.input)}`];
    }
    const given = issue.input as Record<string, unknown>;
    return issue.keys
      .slice(0, shownProblems)
      .map((key) => `${field}.${cut(key)}: expected no such field, got ${shown(given[key])}`);
  });
  if (issues.length > shownProblems) problems.push(`and ${issues.length - shownProblems} more`);
  throw new PayloadError(`${identifier}: ${problems.join("; ")}`);
}

function shown(input: unknown): string {
  if (input === undefined) return "nothing";
  try {
    return cut(JSON.stringify(input));
  } catch {
    // It is nested deeper than that can follow.
    return Array.isArray(input) ? "[…]" : "{…}";
  }
}

function cut(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** Those that the ledger can keep: other tasks than ours may mean something else by the name. */
function storesOf(payload: unknown): string[] | undefined {
  if (typeof payload !== "object" || payload === null || !("tiendas" in payload)) return undefined;
  const { tiendas } = payload;
  return Array.isArray(tiendas) && tiendas.length <= 1000 && tiendas.every(isUuid)
    ? tiendas
    : undefined;
}

function isUuid(value: unknown): boolean {
  return typeof value === "string" && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value);
}

/** A schedule of every minute that finds nothing to do is not worth a line. */
function didNothing(counts: Record<string, unknown> | undefined): boolean {
  const values = Object.values(counts ?? {});
  return values.length > 0 && values.every((value) => value === 0);
}
