import { hostname } from "node:os";
import type { Pool } from "pg";
import type { Logger } from "../log.ts";
import { within } from "../within.ts";
import type { Condition } from "./while-allowed.ts";

/** With its clock further from Postgres's a worker takes no work. */
const toleratedMs = 5_000;
/** An answer that took longer says too little of when it was given. */
const answerMs = 5_000;

/**
 * Holds while this machine's clock agrees with Postgres's. Graphile Worker's schedules go by the machine's
 * clock, so a worker takes no work when the two differ by seconds. Whatever else needs the time asks Postgres.
 */
export function clockAgrees(pool: Pool, log: Logger): Condition {
  let isWrong = false;

  async function compare(): Promise<boolean> {
    const aheadMs = await askAhead(pool);
    // Postgres is away, which is not the clock's fault.
    if (aheadMs === undefined) return !isWrong;
    const wasWrong = isWrong;
    isWrong = Math.abs(aheadMs) > toleratedMs;
    if (isWrong) {
      if (!wasWrong) {
        log.error(
          { aheadMs },
          `this machine's clock is ${inWords(aheadMs)} Postgres's: the worker takes no work until it is set right (by NTP)`,
        );
      }
      await note(aheadMs);
    } else if (wasWrong) {
      log.info("this machine's clock agrees with Postgres's again: the worker takes work");
      await note(null);
    }
    return !isWrong;
  }

  /** For readiness, which another process may be asked for. */
  async function note(aheadMs: number | null): Promise<void> {
    await pool
      .query("select nexus_engine.note_worker_clock($1, $2, $3)", [
        hostname(),
        process.pid,
        aheadMs,
      ])
      .catch((err: unknown) => log.warn({ err }, "could not note that this clock is wrong"));
  }

  return {
    holds: compare,
    end: async () => {
      if (isWrong) await note(null);
    },
  };
}

/**
 * How many ms this machine's clock is ahead of Postgres's, negative when behind: at least that many, as
 * the answer was given some time between question and answer. Undefined without an answer.
 */
async function askAhead(pool: Pool): Promise<number | undefined> {
  const askedAt = Date.now();
  const { rows } = await within(
    answerMs,
    pool.query<{ now: number }>(
      "select (extract(epoch from clock_timestamp()) * 1000)::float8 as now",
    ),
  ).catch(() => ({ rows: [] }));
  const answeredAt = Date.now();
  const now = rows[0]?.now;
  if (now === undefined) return undefined;
  if (askedAt > now) return Math.round(askedAt - now);
  return answeredAt < now ? Math.round(answeredAt - now) : 0;
}

function inWords(aheadMs: number): string {
  const seconds = Math.round(Math.abs(aheadMs) / 1000);
  const time =
    seconds < 120
      ? `${seconds} s`
      : seconds < 7_200
        ? `${Math.round(seconds / 60)} min`
        : `${Math.round(seconds / 3_600)} h`;
  return `${time} ${aheadMs > 0 ? "ahead of" : "behind"}`;
}
