import { setTimeout as sleep } from "node:timers/promises";

/** Waits until it holds; after the limit throws an Error that names what did not come true. */
export async function until(what: string, holds: () => unknown, withinMs = 15_000) {
  const limit = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > limit) throw new Error(`not within ${withinMs} ms: ${what}`);
    await sleep(20);
  }
}
