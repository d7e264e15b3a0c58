import { setTimeout as sleep } from "node:timers/promises";
import type { Pool, PoolClient, QueryConfig } from "pg";
import { codeOf } from "../database/away.ts";
import { noticeVanished, onLoan } from "../database/pools.ts";
import type { SuspensionWatch } from "../database/suspension.ts";
import type { Health } from "../health.ts";
import type { Logger } from "../log.ts";
import { within } from "../within.ts";

/**
 * While awake, how long from one look into the outbox to the next: some milliseconds, and up to 20 ms
 * twice as long as the look itself took, so that sales that keep bringing crossings have them told
 * several at a time, which costs less, and find a core free. And for how long after there was something.
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
/** While a whole table is locked, so often it is said that alerts wait. */
const sayLockedMs = 60_000;
/** A look that gets no answer for so long has lost its connection: one takes a tenth of a second. */
const answerMs = 30_000;
/** A stop waits only so long for the look that is under way, which Postgres may never answer. */
const stopMs = 5_000;

export type StockDrain = {
  /** Ends after the transaction that is running. */
  stop(): Promise<void>;
};

/**
 * Empties the outbox of stock crossings as soon as the bell rings. While sales bring more it stays
 * awake and looks by itself, so that they need not ring: a bell makes commits take turns.
 */
export function startStockDrain(
  pool: Pool,
  log: Logger,
  health?: Health,
  suspension?: Pick<SuspensionWatch, "explains">,
): StockDrain {
  const stopping = new AbortController();
  const ended = drainUntil(stopping.signal, pool, log, health, suspension);
  return {
    stop: () => {
      stopping.abort();
      return ended;
    },
  };
}

async function drainUntil(
  signal: AbortSignal,
  pool: Pool,
  log: Logger,
  health: Health | undefined,
  suspension: Pick<SuspensionWatch, "explains"> | undefined,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await listenAndDrain(signal, pool, log, () =>
        health?.succeeded("the drain of the stock outbox"),
      );
    } catch (err) {
      // Cut off by the stop.
      if (signal.aborted) return;
      // Else it rests: who supervises the worker is about to stop it.
      if (!(await suspension?.explains(err))) {
        health?.failed("the drain of the stock outbox", err);
        log.error({ err }, "the stock outbox could not be drained, trying again");
      }
      await sleep(retryMs, undefined, { signal }).catch(() => {});
    }
  }
}

/** Holds one connection that listens, and drains with it. */
async function listenAndDrain(
  signal: AbortSignal,
  pool: Pool,
  log: Logger,
  onDrained: () => void,
): Promise<void> {
  const client = await pool.connect();
  const outbox = new Outbox(client, signal, log);
  let rung = true;
  let wake = () => {};
  const onBell = () => {
    rung = true;
    wake();
  };
  const loan = onLoan(client);
  let stopTimer: NodeJS.Timeout | undefined;
  const onStop = () => {
    stopTimer = setTimeout(loan.release, stopMs, true);
    onBell();
  };
  client.on("notification", onBell);
  signal.addEventListener("abort", onStop);
  let lastFound = Number.NEGATIVE_INFINITY;
  let waitMs: number = awake.pollMs;
  try {
    await outbox.open();
    while (!signal.aborted) {
      rung = false;
      const began = performance.now();
      if (await outbox.drain()) lastFound = performance.now();
      onDrained();
      const tookMs = performance.now() - began;
      if (performance.now() - lastFound < awake.forMs) {
        waitMs = Math.min(Math.max(awake.pollMs, awake.rest * tookMs), awake.mostMs);
        // Bells that others rang before they could know: what they are about waits for the next look.
        if (await outbox.stayAwake()) rung = false;
      } else {
        await outbox.fallAsleep();
        waitMs = Math.min(waitMs * asleep.growth, asleep.mostMs);
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      const timer = setTimeout(resolve, rung || signal.aborted ? 0 : waitMs);
      await promise;
      clearTimeout(timer);
    }
    await outbox.close();
    loan.release(false);
  } catch (error) {
    // A connection that failed once is not given back to be used again.
    loan.release(true);
    throw error;
  } finally {
    clearTimeout(stopTimer);
    client.off("notification", onBell);
    signal.removeEventListener("abort", onStop);
  }
}

type Drained = { events: number; backlogs: boolean; passed_over: boolean };

/** The outbox, by a session that says whether it is awake. */
class Outbox {
  readonly #client: PoolClient;
  readonly #signal: AbortSignal;
  readonly #log: Logger;
  #isAwake = false;
  #saidLockedAt = Number.NEGATIVE_INFINITY;

  constructor(client: PoolClient, signal: AbortSignal, log: Logger) {
    this.#client = client;
    this.#signal = signal;
    this.#log = log;
  }

  async open(): Promise<void> {
    await this.#ask("listen nexus_stock");
    // A crash that loses what was drained brings back the events that it was drained from. And the
    // session of a machine that is gone, if it is awake, keeps every sale from ringing.
    await this.#ask(`set synchronous_commit = off; ${noticeVanished}`);
  }

  async close(): Promise<void> {
    await this.fallAsleep();
    await this.#ask("unlisten nexus_stock");
    await this.#ask(
      `reset synchronous_commit;
       reset tcp_keepalives_idle; reset tcp_keepalives_interval; reset tcp_keepalives_count`,
    );
  }

  /**
   * Whether there was anything in the outbox, or still is, of a store that somebody else is reconciling.
   * Stores with a few events and a share of a backlog take turns, so that an import of one store keeps
   * no other waiting. What comes while the few are told is left to the next look.
   */
  async drain(): Promise<boolean> {
    let found = false;
    while (!this.#signal.aborted) {
      const few = await this.#look(false);
      const many = few.backlogs && !this.#signal.aborted ? await this.#look(true) : undefined;
      const events = few.events + (many?.events ?? 0);
      found ||= events > 0 || few.passed_over || Boolean(many?.passed_over);
      if (few.events < atOnce && !many?.events) break;
      await this.stayAwake();
    }
    return found;
  }

  async #look(backlog: boolean): Promise<Drained> {
    const [drained] = await this.#ask<Drained>({
      name: "drain_outbox",
      text: "select * from nexus_engine.drain_outbox($1, $2, $3, now())",
      values: [share, atOnce, backlog],
    }).catch((error: unknown) => {
      if (codeOf(error) !== "55P03") throw error;
      this.#sayLocked();
      return [];
    });
    return drained ?? { events: 0, backlogs: false, passed_over: true };
  }

  #sayLocked(): void {
    if (performance.now() - this.#saidLockedAt < sayLockedMs) return;
    this.#saidLockedAt = performance.now();
    this.#log.warn("a whole table is locked: alerts wait until it is not");
  }

  /** False while another drain is awake, or a sale is asking whether one is. */
  async stayAwake(): Promise<boolean> {
    if (!this.#isAwake) {
      const [row] = await this.#ask<{ awake: boolean }>(
        "select nexus_engine.stay_awake() as awake",
      );
      this.#isAwake = row?.awake ?? false;
    }
    return this.#isAwake;
  }

  async fallAsleep(): Promise<void> {
    if (this.#isAwake) await this.#ask("select nexus_engine.fall_asleep()");
    this.#isAwake = false;
  }

  async #ask<Row extends object>(query: string | QueryConfig): Promise<Row[]> {
    const { rows } = await within(answerMs, this.#client.query<Row>(query));
    return rows;
  }
}
