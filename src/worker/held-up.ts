import { setTimeout as sleep } from "node:timers/promises";
import type { Pool } from "pg";
import { codeOf } from "../database/away.ts";
import { onLoan } from "../database/pools.ts";
import type { SuspensionWatch } from "../database/suspension.ts";
import type { Logger } from "../log.ts";
import { within } from "../within.ts";

const usual = {
  /** So long a store is held up before it is told, and so long until it is told again. */
  afterMs: 60_000,
  againMs: 600_000,
  /** From one look for such stores to the next. */
  everyMs: 15_000,
};
/** From one look at who stands in front to the next, while somebody waits. */
const lookEveryMs = 100;
/** A stop waits no longer for a look, which Postgres may never answer. */
const stopMs = 3_000;

export type HeldUpReports = { stop(): Promise<void> };

type HeldUp = { tienda_id: string; work: string; since: Date; attempts: number };
type Session = Record<"pid" | "login" | "application" | "state" | "since", unknown>;

/**
 * Names in the log the stores that another session's locks have kept from being served for a minute, with
 * the sessions in front: nobody else would know why an owner hears nothing.
 */
export function startHeldUpReports(
  pool: Pool,
  log: Logger,
  suspension?: Pick<SuspensionWatch, "explains">,
  times = usual,
): HeldUpReports {
  const stopping = new AbortController();
  const { signal } = stopping;
  const ended = (async () => {
    while (!signal.aborted) {
      await tell(pool, log, times).catch(async (err: unknown) => {
        if (!signal.aborted && !(await suspension?.explains(err)))
          log.warn({ err }, "could not look for stores that are held up");
      });
      await sleep(times.everyMs, undefined, { signal }).catch(() => {});
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await within(stopMs, ended).catch(() => {});
    },
  };
}

async function tell(pool: Pool, log: Logger, { afterMs, againMs }: typeof usual): Promise<void> {
  const { rows } = await pool.query<HeldUp>(
    `select * from nexus_engine.take_held_up_to_tell(
       $1 * interval '1 ms', $2 * interval '1 ms')`,
    [afterMs, againMs],
  );
  for (const { tienda_id, work, since, attempts } of rows) {
    const sessions = await sessionsInFront(pool, tienda_id, work);
    if (!sessions) continue;
    log.warn(
      { tienda: tienda_id, work, since, attempts, sessions },
      "a store cannot be served, because these sessions keep rows of it locked; it is tried again",
    );
  }
}

/** Does the work once more, and looks whom it waits for; undefined when it has been done. */
async function sessionsInFront(
  pool: Pool,
  tienda: string,
  work: string,
): Promise<Session[] | undefined> {
  const client = await pool.connect();
  const loan = onLoan(client);
  try {
    const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
    const attempt = client.query("select nexus_engine.try_held_up($1, $2)", [work, tienda]).then(
      () => "done" as const,
      (error: unknown) => error,
    );
    let seen: Session[] = [];
    let outcome: unknown;
    while (outcome === undefined) {
      const { rows: sessions } = await pool.query<Session>(
        "select * from nexus_engine.sessions_in_front($1)",
        [rows[0]?.pid],
      );
      // What Postgres does not show to this role is left out.
      if (sessions.length > 0) seen = sessions.map(known);
      outcome = await Promise.race([attempt, sleep(lookEveryMs)]);
    }
    loan.release(false);
    if (outcome === "done") return undefined;
    if (codeOf(outcome) === "55P03" || codeOf(outcome) === "40P01") return seen;
    throw outcome;
  } finally {
    loan.release(true);
  }
}

function known(session: Session): Session {
  return Object.fromEntries(
    Object.entries(session).filter(([, value]) => value !== null && value !== ""),
  ) as Session;
}
