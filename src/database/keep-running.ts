import { setTimeout as sleep } from "node:timers/promises";
import type { Health } from "../health.ts";
import type { Logger } from "../log.ts";
import { backoff, isAway } from "./away.ts";

export type Running = {
  /** Settles when it ends, by itself or because it was stopped. */
  ended: Promise<unknown>;
  stop(): Promise<void>;
};

export type KeptRunning = {
  /** Rejects when it cannot be started again for a reason that will not pass. */
  failed: Promise<never>;
  stop(): Promise<void>;
};

/** What ran this long has got over what had ended the one before. */
const steadyMs = 60_000;

/**
 * Starts something that ends when Postgres goes away, and starts it again when it has ended without
 * having been told to: with back-off, until Postgres is there again. The first start is not repeated.
 * What cannot be started again is told to `health`, by its name.
 */
export async function keepRunning(
  name: string,
  start: () => Promise<Running>,
  log: Logger,
  health: Pick<Health, "failed" | "succeeded">,
  limits: { firstMs: number; mostMs: number } = { firstMs: 250, mostMs: 10_000 },
): Promise<KeptRunning> {
  const work = `the start of the ${name}`;
  const stopping = new AbortController();
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {});
  const wait = backoff(limits.firstMs, limits.mostMs);
  let current: Running | undefined = await start();

  async function supervise(): Promise<void> {
    while (current && !stopping.signal.aborted) {
      const since = performance.now();
      const err = await current.ended.then(
        () => undefined,
        (error: unknown) => error,
      );
      if (stopping.signal.aborted) return;
      if (performance.now() - since > steadyMs) wait.reset();
      log.error({ err }, `the ${name} has ended by itself, starting it again`);
      const gone = current;
      current = undefined;
      await gone.stop().catch(() => {});
      current = await startAgain();
    }
    // A stop that came while it was being started.
    await current?.stop();
  }

  async function startAgain(): Promise<Running | undefined> {
    for (;;) {
      await sleep(wait.next(), undefined, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) return undefined;
      try {
        const again = await start();
        health.succeeded(work);
        log.warn(`the ${name} runs again`);
        return again;
      } catch (err) {
        if (!isAway(err)) throw err;
        health.failed(work, err);
        log.warn({ err }, `the ${name} cannot start yet`);
      }
    }
  }

  const supervised = supervise().catch((error: unknown) => failure.reject(error));
  return {
    failed: failure.promise,
    async stop() {
      stopping.abort();
      await (current ? current.stop() : supervised);
    },
  };
}
