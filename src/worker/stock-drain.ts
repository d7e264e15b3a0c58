import { setTimeout as sleep } from "node:timers/promises";
import type { Pool, PoolClient } from "pg";
import type { Logger } from "../log.ts";

/**
 * How long an event may wait whose bell was not rung, because another's still lay in the outbox, or
 * not heard: at most half as long again as its transaction took to commit, and never over a second.
 */
const pollMs = { first: 5, growth: 1.5, most: 1000 };
const retryMs = 1000;
/** Events looked at in one transaction. */
const eventsPerDrain = 5000;

export type StockDrain = {
  /** Ends after the transaction that is running. */
  stop(): Promise<void>;
};

/**
 * Empties the outbox of stock crossings as soon as the bell rings, looks again soon after it found
 * something, then less and less often: a sale that came while the outbox was being emptied rang no
 * bell.
 */
export function startStockDrain(pool: Pool, log: Logger): StockDrain {
  const stopping = new AbortController();
  const ended = drainUntil(stopping.signal, pool, log);
  return {
    stop: () => {
      stopping.abort();
      return ended;
    },
  };
}

async function drainUntil(signal: AbortSignal, pool: Pool, log: Logger): Promise<void> {
  while (!signal.aborted) {
    try {
      await listenAndDrain(signal, pool);
    } catch (err) {
      log.error({ err }, "the stock outbox could not be drained, trying again");
      await sleep(retryMs, undefined, { signal }).catch(() => {});
    }
  }
}

/** Holds one connection that listens, and drains with it. */
async function listenAndDrain(signal: AbortSignal, pool: Pool): Promise<void> {
  const client = await pool.connect();
  let rung = true;
  let wake = () => {};
  const onBell = () => {
    rung = true;
    wake();
  };
  client.on("notification", onBell);
  signal.addEventListener("abort", onBell);
  let waitMs = pollMs.first;
  try {
    await client.query("listen nexus_stock");
    // A crash that loses what was drained brings back the events that it was drained from.
    await client.query("set synchronous_commit = off");
    while (!signal.aborted) {
      const called = rung;
      rung = false;
      const found = await drain(client, signal);
      if (rung || signal.aborted) continue;
      waitMs = found || called ? pollMs.first : Math.min(waitMs * pollMs.growth, pollMs.most);
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      const timer = setTimeout(resolve, waitMs);
      await promise;
      clearTimeout(timer);
    }
    await client.query("unlisten nexus_stock; reset synchronous_commit");
    client.release();
  } catch (error) {
    // A connection that failed once is not given back to be used again.
    client.release(true);
    throw error;
  } finally {
    client.off("notification", onBell);
    signal.removeEventListener("abort", onBell);
  }
}

/** Whether there was anything in the outbox. */
async function drain(client: PoolClient, signal: AbortSignal): Promise<boolean> {
  let found = false;
  while (!signal.aborted) {
    const { rows } = await client.query<{ stores: number }>(
      "select nexus_engine.drain_stock_events($1, $2) as stores",
      [eventsPerDrain, new Date()],
    );
    if (!rows[0]?.stores) break;
    found = true;
  }
  return found;
}
