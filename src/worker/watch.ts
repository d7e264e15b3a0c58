import { setTimeout as sleep } from "node:timers/promises";
import type { Pool } from "pg";
import { isAway } from "../database/away.ts";
import type { SuspensionWatch } from "../database/suspension.ts";
import type { Logger } from "../log.ts";
import { within } from "../within.ts";

const lookMs = 60_000;
/** A look that gets no answer for so long is given up, and so is a stop that waits for one. */
const answerMs = { look: 30_000, stop: 3_000 };

export type Watch = {
  stop(): Promise<void>;
};

type Look = (pool: Pool, log: Logger, tasks: string[]) => Promise<void>;
const looks: Look[] = [mendSchedules, lookForUnknownTasks, lookAtPosClock];

/**
 * Looks every minute for what nobody else would see: not a task, because schedules that do not run are
 * part of it.
 * @param tasks those that this worker knows.
 */
export function startWatch(
  pool: Pool,
  tasks: string[],
  log: Logger,
  suspension: Pick<SuspensionWatch, "explains">,
): Watch {
  const stopping = new AbortController();
  const { signal } = stopping;
  const ended = (async () => {
    while (!signal.aborted) {
      await lookOnce(pool, tasks, log, suspension);
      await sleep(lookMs, undefined, { signal }).catch(() => {});
    }
  })();
  return {
    stop: () => {
      stopping.abort();
      return within(answerMs.stop, ended).catch(() => {});
    },
  };
}

export async function lookOnce(
  pool: Pool,
  tasks: string[],
  log: Logger,
  suspension?: Pick<SuspensionWatch, "explains">,
): Promise<void> {
  for (const look of looks) {
    await within(answerMs.look, look(pool, log, tasks)).catch(async (err: unknown) => {
      if (!isAway(err) && !(await suspension?.explains(err))) {
        log.warn({ err }, "could not look after clocks and schedules, trying again in a minute");
      }
    });
  }
}

/** A clock that was ahead leaves schedules that seem to have run in the future. */
async function mendSchedules(pool: Pool, log: Logger): Promise<void> {
  const { rows } = await pool.query<{ schedule: string; ran_at: Date | null; jobs: number }>(
    "select schedule, ran_at, jobs from nexus_engine.mend_schedules()",
  );
  if (rows.length > 0) {
    log.error(
      { schedules: rows },
      "schedules had run in the future, by a clock that was ahead; they are set right",
    );
  }
}

/** Once an hour by one of the workers: a job whose task none of them has waits for ever. */
async function lookForUnknownTasks(pool: Pool, log: Logger, tasks: string[]): Promise<void> {
  const { rows } = await pool.query<{ task: string; jobs: number; oldest: Date }>(
    "select task, jobs, oldest from nexus_engine.tell_jobs_without_task($1)",
    [tasks],
  );
  for (const { task, jobs, oldest } of rows) {
    log.warn(
      { task: task.slice(0, 128), jobs, oldest },
      "jobs wait for a task that this worker does not know: a typing error, or a task that was removed",
    );
  }
}

async function lookAtPosClock(pool: Pool, log: Logger): Promise<void> {
  const { rows } = await pool.query<{ minutes: number; is_over: boolean; message: string }>(
    "select minutes, is_over, message from nexus_engine.look_at_pos_clock()",
  );
  for (const { minutes, is_over, message } of rows) {
    if (is_over) log.info({ minutes }, "the POS's clock is right again");
    else log.error({ minutes }, message);
  }
}
