import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { Pool, PoolClient } from "pg";
import { noticeVanished } from "../database/pools.ts";
import type { Logger } from "../log.ts";
import { within } from "../within.ts";
import type { Running } from "./attempt.ts";
import { CancelledError } from "./failure.ts";

const heartbeatMs = 1_000;
/** Without a heartbeat for so long, and without its connection, a worker is gone. */
const staleMs = 2_500;
/** Without a heartbeat for so long it is gone even if its connection stands: frozen, or cut off. */
const frozenMs = 120_000;
/** Younger locks may belong to a job whose attempt is just beginning. */
const strandedAfterMs = 5_000;
const sweepMs = 60_000;
const retryMs = 500;
/** A heartbeat that gets no answer for so long has lost its connection. */
const answerMs = 5_000;

export type GuardOptions = {
  /** Straight to Postgres: the guard's lock belongs to the session. */
  pool: Pool;
  /** Graphile Worker's id of the pool that is guarded. */
  worker: string;
  running: Running;
  log: Logger;
};

export type Guard = {
  /** Settles when the others know of this worker, so that its jobs will be rescued. */
  ready: Promise<void>;
  /** Frees what the worker still holds, and takes it off the list. */
  leave(): Promise<void>;
};

type Freed = { worker?: string; job_id: string; task: string; fate: string };

/**
 * Tells the others that this worker is alive, on a connection of its own, and hears from it what
 * operators want cancelled; frees the jobs of workers that are gone, and those of its own that a broken
 * connection left locked.
 */
export function startGuard({ pool, worker, running, log }: GuardOptions): Guard {
  const ready = Promise.withResolvers<void>();
  const leaving = new AbortController();
  const ended = guard();

  async function guard(): Promise<void> {
    let first = true;
    while (!leaving.signal.aborted) {
      const client = await pool.connect().catch((err: unknown) => {
        log.warn({ err, worker }, "the worker's guard cannot connect, trying again");
      });
      if (client) {
        const broken = await watch(client, first).then(
          () => false,
          (err: unknown) => {
            log.warn({ err, worker }, "the worker's guard lost its connection");
            return true;
          },
        );
        client.release(broken);
        first = false;
      }
      if (!leaving.signal.aborted) await sleep(retryMs * (0.5 + Math.random()));
    }
  }

  /** Until told to leave; rejects when the connection is lost. */
  async function watch(client: PoolClient, first: boolean): Promise<void> {
    let wake = () => {};
    const onWake = () => wake();
    client.on("notification", onWake);
    leaving.signal.addEventListener("abort", onWake);
    try {
      await ask(client, "listen nexus_cancel");
      await ask(client, noticeVanished);
      // What this end has given up must not wait on for a lock, and act once it has it.
      await ask(client, "set client_connection_check_interval = 250");
      let locked = false;
      // After an outage the others need as long to come back.
      let nextRescue = performance.now() + (first ? 0 : 2 * staleMs);
      let nextSweep = performance.now() + strandedAfterMs + heartbeatMs;
      while (!leaving.signal.aborted) {
        const woken = new Promise<void>((resolve) => {
          wake = resolve;
        });
        // Only the session before this one can have it, until Postgres notices that it is gone.
        if (!locked) locked = await lock(client);
        await beat(client);
        ready.resolve();
        if (performance.now() >= nextRescue) {
          await rescue(client);
          nextRescue = performance.now() + heartbeatMs / 2;
        }
        if (performance.now() >= nextSweep) {
          await sweep(client);
          nextSweep = performance.now() + sweepMs;
        }
        const timer = setTimeout(wake, heartbeatMs);
        await woken;
        clearTimeout(timer);
      }
      await ask(client, "unlisten nexus_cancel");
      await ask(client, "select pg_advisory_unlock(nexus_engine.worker_guard($1))", [worker]);
    } finally {
      client.off("notification", onWake);
      leaving.signal.removeEventListener("abort", onWake);
    }
  }

  async function lock(client: PoolClient): Promise<boolean> {
    const [row] = await ask<{ locked: boolean }>(
      client,
      "select pg_try_advisory_lock(nexus_engine.worker_guard($1)) as locked",
      [worker],
    );
    return row?.locked ?? false;
  }

  async function beat(client: PoolClient): Promise<void> {
    const cancelled = await ask<{ job_id: string; reason: string }>(
      client,
      "select job_id, reason from nexus_engine.heartbeat($1, $2, $3)",
      [worker, hostname(), process.pid],
    );
    for (const { job_id, reason } of cancelled) {
      running.get(job_id)?.abort(new CancelledError(`cancelled: ${reason}`));
    }
  }

  async function rescue(client: PoolClient): Promise<void> {
    report(
      await ask<Freed>(
        client,
        "select worker, job_id, task, fate from nexus_engine.rescue(make_interval(secs => $1), make_interval(secs => $2))",
        [staleMs / 1000, frozenMs / 1000],
      ),
    );
  }

  async function sweep(client: PoolClient): Promise<void> {
    report(
      await ask<Freed>(
        client,
        "select job_id, task, fate from nexus_engine.free_stranded($1, $2, make_interval(secs => $3))",
        [worker, [...running.keys()], strandedAfterMs / 1000],
      ),
    );
    await ask(client, "select nexus_engine.cap_backoff(now() - make_interval(secs => $1))", [
      (2 * sweepMs) / 1000,
    ]);
  }

  function report(freed: Freed[]): void {
    for (const { worker: dead = worker, job_id, task, fate } of freed) {
      const level = fate === "poison" ? "error" : "warn";
      log[level](
        { worker: dead, job: job_id, task, fate },
        "a job was left behind and is free again",
      );
    }
  }

  return {
    ready: ready.promise,
    leave: async () => {
      leaving.abort();
      // Whoever still waits to begin gets no job any more.
      ready.resolve();
      await ended;
      await pool
        .query<Freed>("select job_id, task, fate from nexus_engine.leave($1)", [worker])
        .then(
          ({ rows }) => report(rows),
          (err: unknown) =>
            log.warn({ err, worker }, "could not sign off: others will find it gone"),
        );
    },
  };
}

async function ask<Row extends object>(
  client: PoolClient,
  text: string,
  values?: unknown[],
): Promise<Row[]> {
  const { rows } = await within(answerMs, client.query(text, values));
  return rows as Row[];
}
