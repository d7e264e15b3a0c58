import { setTimeout as sleep } from "node:timers/promises";
import type { Pool } from "pg";
import type { Logger } from "../log.ts";
import { within } from "../within.ts";
import { sqlState } from "./away.ts";

/** From one look to the next: so long nobody need notice. */
const usualMs = 1_000;
/** A look that gets no answer for so long says nothing: Postgres is away, which is something else. */
const answerMs = 3_000;

/**
 * SQLSTATEs that a suspension explains: no right to rows that a policy hides; no such table, function,
 * column, type or schema; a plan for a view that is another one now; an object that went between its name was read
 * and it was opened. As nexus_engine.is_passing has them.
 */
const explained = new Set(["42501", "42P01", "42883", "42703", "42704", "3F000", "0A000", "XX000"]);

/** Why the engine may not work now. */
export type Suspension = {
  /** Fit for anybody who asks. */
  reason: string;
  /** What an operator does about it. */
  remedy: string;
};

export type SuspensionWatch = {
  /** As of the last look, or undefined while the engine may work. */
  current(): Suspension | undefined;
  /** As of the last look, whether our functions and views were made anew a moment ago. */
  wasJustChanged(): boolean;
  /** Looks now. */
  look(): Promise<Suspension | undefined>;
  /** The suspension by which this error is explained, if it is by one; looks first. */
  explain(error: unknown): Promise<Suspension | undefined>;
  /** Calls it whenever the engine may not work any more, or may again, until the returned function is called. */
  onChange(listener: () => void): () => void;
  stop(): Promise<void>;
};

/** The watch that is given, which whoever gave it stops; else one of its own, which `release` stops. */
export async function shareWatch(
  given: SuspensionWatch | undefined,
  pool: Pool,
  log: Logger,
): Promise<{ suspension: SuspensionWatch; release(): Promise<void> }> {
  if (given) return { suspension: given, release: async () => {} };
  const suspension = await watchSuspension(pool, log);
  return { suspension, release: suspension.stop };
}

export const mayBeSuspended = (error: unknown) => explained.has(sqlState(error) ?? "");

/** As the watch's explain says, by what it knows already. */
export function explanation(
  error: unknown,
  watch: Pick<SuspensionWatch, "current" | "wasJustChanged">,
): Suspension | undefined {
  if (!mayBeSuspended(error)) return undefined;
  if (watch.current()) return watch.current();
  if (isOfRowSecurity(error)) return hidden;
  return watch.wasJustChanged() ? changed : undefined;
}

/** What was over before anybody could look. */
const hidden = {
  reason: "row level security would have hidden rows from the engine",
  remedy: "",
};
const changed = { reason: "the database was changed a moment ago", remedy: "" };

/** Somebody dropped a table, a function or the schema that a look needs. */
const isGone = (error: unknown): error is Error =>
  ["42P01", "42883", "3F000"].includes(sqlState(error) ?? "");
const goneRemedy = ({ message }: Error) =>
  `${message}; restart, and where that refuses restore it from a backup`;

/** Which function of Postgres's raised it; its message may be in any language. */
function isOfRowSecurity(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (
    ("routine" in error && error.routine === "check_enable_rls") || isOfRowSecurity(error.cause)
  );
}

/**
 * Looks every second whether the engine may work, see nexus_engine.suspension_details: it may not while it is
 * detached from the POS's tables, or while row level security would hide rows from it. Says in the log when
 * that begins, with what to do, and when it ends. The first look is done when this resolves.
 */
export async function watchSuspension(
  pool: Pool,
  log: Logger,
  everyMs = usualMs,
): Promise<SuspensionWatch> {
  const stopping = new AbortController();
  const { signal } = stopping;
  const listeners = new Set<() => void>();
  let current: Suspension | undefined;
  let wasJustChanged = false;
  let since = 0;
  let last: Promise<void> = Promise.resolve();
  let next: Promise<void> | undefined;

  async function ask(): Promise<void> {
    const asked = pool.query<{ reason: string | null; remedy: string | null; changed: boolean }>(
      "select reason, remedy, nexus_engine.was_just_changed() as changed from nexus_engine.suspension_details()",
    );
    const answer = await within(answerMs, asked).catch((err: unknown) => {
      if (isGone(err))
        return note({
          reason: "what looks whether the engine may work is missing",
          remedy: goneRemedy(err),
        });
      log.debug({ err }, "could not look whether the engine may work");
    });
    if (!answer) return;
    const [row] = answer.rows;
    wasJustChanged = row?.changed ?? false;
    note(row?.reason ? { reason: row.reason, remedy: row.remedy ?? "" } : undefined);
  }

  function note(found: Suspension | undefined): void {
    const before = current;
    if (found?.reason === before?.reason) return;
    current = found;
    if (found) {
      if (!before) since = performance.now();
      log.error(`suspended: ${found.reason}. To mend it: ${found.remedy}`);
    } else {
      const seconds = Math.round((performance.now() - since) / 1000);
      log.info({ seconds }, "not suspended any more: the engine works again");
    }
    if (!found !== !before) for (const listener of listeners) listener();
  }

  /** One that begins now: one that is under way may have been answered before what is asked about. */
  function look(): Promise<void> {
    next ??= last.then(() => {
      last = ask();
      next = undefined;
      return last;
    });
    return next;
  }

  await look();
  const ended = (async () => {
    while (!signal.aborted) {
      await sleep(everyMs, undefined, { signal }).catch(() => {});
      if (!signal.aborted) await look();
    }
  })();
  const watch: SuspensionWatch = {
    current: () => current,
    wasJustChanged: () => wasJustChanged,
    look: async () => {
      await look();
      return current;
    },
    explain: async (error) => {
      if (mayBeSuspended(error)) await look();
      return explanation(error, watch);
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    stop: () => {
      stopping.abort();
      return ended;
    },
  };
  return watch;
}
