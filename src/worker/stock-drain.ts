import { setTimeout as sleep } from "node:timers/promises";
import type { Pool, PoolClient } from "pg";
import type { Logger } from "../log.ts";

/**
 * While awake, how long from one look into the outbox to the next: some milliseconds, and longer than
 * the look itself took, so that sales that keep bringing crossings have them told several at a time,
 * which costs less, and find half of a core free. And for how long after there was something.
 */
const awake = { pollMs: 5, rest: 2, mostMs: 20, forMs: 50 };
/**
 * Asleep, a sale's bell wakes us. An event whose bell was not rung, because we were awake when its
 * sale asked but not when it committed, or not heard, waits at most half as long again as its
 * transaction took, and never over a second.
 */
const asleep = { growth: 1.5, mostMs: 1000 };
const retryMs = 1000;
/** Events of one store, and of all stores with fewer, that are looked at in one transaction. */
const share = 250;
const atOnce = 500;

export type StockDrain = {
  /** Ends after the transaction that is running. */
  stop(): Promise<void>;
};

/**
 * Empties the outbox of stock crossings as soon as the bell rings. While sales bring more it stays
 * awake and looks by itself, so that they need not ring: a bell makes commits take turns.
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
  let isAwake = false;
  let lastFound = Number.NEGATIVE_INFINITY;
  let waitMs: number = awake.pollMs;
  try {
    await client.query("listen nexus_stock");
    // A crash that loses what was drained brings back the events that it was drained from.
    await client.query("set synchronous_commit = off");
    while (!signal.aborted) {
      rung = false;
      const began = performance.now();
      if (await drain(client, signal)) lastFound = performance.now();
      const tookMs = performance.now() - began;
      if (rung || signal.aborted) continue;
      if (performance.now() - lastFound < awake.forMs) {
        isAwake ||= await stayAwake(client);
        waitMs = Math.min(Math.max(awake.pollMs, awake.rest * tookMs), awake.mostMs);
      } else {
        if (isAwake) await fallAsleep(client);
        isAwake = false;
        waitMs = Math.min(waitMs * asleep.growth, asleep.mostMs);
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      const timer = setTimeout(resolve, rung || signal.aborted ? 0 : waitMs);
      await promise;
      clearTimeout(timer);
    }
    if (isAwake) await fallAsleep(client);
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

/**
 * Whether there was anything in the outbox, or still is, of a store that somebody else is reconciling.
 * Stores with a few events and a share of a backlog take turns, so that an import of one store keeps
 * no other waiting. What comes while the few are told is left to the next look.
 */
async function drain(client: PoolClient, signal: AbortSignal): Promise<boolean> {
  let found = false;
  while (!signal.aborted) {
    const few = await drainOnce(client, false);
    const many = few.backlogs && !signal.aborted ? await drainOnce(client, true) : undefined;
    found ||= few.passed_over || Boolean(many?.passed_over);
    found ||= few.events > 0 || Boolean(many?.events);
    if (few.events < atOnce && !many?.events) break;
  }
  return found;
}

type Drained = { events: number; backlogs: boolean; passed_over: boolean };

async function drainOnce(client: PoolClient, backlog: boolean): Promise<Drained> {
  const { rows } = await client.query<Drained>({
    name: "drain_outbox",
    text: "select * from nexus_engine.drain_outbox($1, $2, $3, $4)",
    values: [share, atOnce, backlog, new Date()],
  });
  return rows[0] ?? { events: 0, backlogs: false, passed_over: false };
}

/** False while another drain is awake, or a sale is asking whether one is. */
async function stayAwake(client: PoolClient): Promise<boolean> {
  const { rows } = await client.query<{ awake: boolean }>(
    "select nexus_engine.stay_awake() as awake",
  );
  return rows[0]?.awake ?? false;
}

async function fallAsleep(client: PoolClient): Promise<void> {
  await client.query("select nexus_engine.fall_asleep()");
}
