import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import type { Logger } from "../log.ts";
import { attachLocks, preparationLock } from "./attach.ts";
import { isAway } from "./away.ts";
import { connect } from "./client.ts";
import { ensurePosIndexes } from "./pos.ts";

/** From one look to the next, and how long an index may wait for older transactions. */
const usual = { everyMs: 600_000, lockMs: attachLocks.index };

/**
 * Looks every ten minutes whether our indexes are on the POS's tables, and builds again what is not: a
 * migration of the POS may have dropped them, as Alembic proposes of any index that it does not know, or
 * detach() before it. Not while detached. Ends where this login may not build them.
 */
export function keepIndexes(
  ownerUrl: string,
  log: Logger,
  { everyMs, lockMs } = usual,
): { ended: Promise<void>; stop: () => Promise<void> } {
  const stopping = new AbortController();
  const { signal } = stopping;
  async function run(): Promise<void> {
    for (let may = true; may; ) {
      await sleep(everyMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      try {
        may = await lookOnce(ownerUrl, log, signal, lockMs);
      } catch (err) {
        if (!signal.aborted && !isAway(err)) {
          log.warn({ err }, "could not look after the indexes, trying again later");
        }
      }
    }
  }
  const ended = run();
  const stop = () => {
    stopping.abort();
    return ended;
  };
  return { ended, stop };
}

/** Does nothing where another process is about it, or we are detached. Returns whether it is worth looking again. */
async function lookOnce(
  ownerUrl: string,
  log: Logger,
  signal: AbortSignal,
  lockMs: number,
): Promise<boolean> {
  const client = await connect(ownerUrl, "nexus-indexes");
  const end = () => client.end();
  signal.addEventListener("abort", end);
  try {
    // It may have been stopped while it connected.
    signal.throwIfAborted();
    // What was stopped must not go on with the lock that the next start waits for.
    await client.query("set client_connection_check_interval = 250");
    if (!(await mayBuild(client))) return true;
    await client.query("select set_config('lock_timeout', $1, false)", [String(lockMs)]);
    const { built, left } = await ensurePosIndexes(client, ownerUrl, log);
    if (built.length > 0) {
      log.warn(
        { indexes: built },
        "indexes of ours were gone from the POS's tables, and are built again: a migration of the POS may have dropped them",
      );
    }
    return left.length === 0;
  } finally {
    signal.removeEventListener("abort", end);
    await client.end();
  }
}

/** With the preparation lock, so that nobody else builds. */
async function mayBuild(client: Client): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>(
    "select pg_try_advisory_lock($1) as locked",
    [preparationLock],
  );
  if (!rows[0]?.locked) return false;
  const { rowCount } = await client.query("select from nexus_engine.detached");
  return !rowCount;
}
