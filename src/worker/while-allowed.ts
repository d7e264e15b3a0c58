import type { Logger } from "../log.ts";
import type { RunningWorker } from "./run.ts";

/** From one look at the conditions to the next. */
const lookMs = 1_000;

/** Something without which a worker may take no work. */
export type Condition = {
  holds(): Promise<boolean>;
  /** Calls it when the condition may have changed, until the returned function is called. */
  onChange?(listener: () => void): () => void;
  /** The worker stops. */
  end?(): Promise<void>;
};

export type WhileAllowedOptions = {
  conditions: Condition[];
  /** Starts what takes work. */
  start: () => Promise<RunningWorker>;
  log: Logger;
};

/** Runs what takes work for as long as all conditions hold: stops it when one does not, and starts it again. */
export async function startWhileAllowed({
  conditions,
  start,
  log,
}: WhileAllowedOptions): Promise<RunningWorker> {
  const end = Promise.withResolvers<void>();
  end.promise.catch(() => {});
  let stopping = false;
  let changed = false;
  let wake = () => {};
  let work: RunningWorker | undefined;

  /** Asks all of them: each has something to say for itself. */
  async function isAllowed(): Promise<boolean> {
    changed = false;
    const held = await Promise.all(conditions.map((condition) => condition.holds()));
    return held.every(Boolean);
  }

  async function begin(): Promise<void> {
    let begun: RunningWorker;
    try {
      begun = await start();
    } catch (error) {
      // What forbids it began in the middle of the start.
      if (await isAllowed()) throw error;
      log.debug({ err: error }, "the worker could not start");
      return;
    }
    work = begun;
    // What was halted has not ended by itself.
    begun.ended.then(
      () => work === begun && end.resolve(),
      (error: unknown) => work === begun && end.reject(error),
    );
  }

  async function halt(): Promise<void> {
    const halted = work;
    work = undefined;
    await halted?.stop();
  }

  async function supervise(): Promise<void> {
    for (;;) {
      const timer = setTimeout(() => wake(), lookMs);
      await new Promise<void>((resolve) => {
        wake = resolve;
        if (stopping || changed) resolve();
      });
      clearTimeout(timer);
      if (stopping) return;
      const allowed = await isAllowed();
      if (!allowed && work) await halt();
      else if (allowed && !work && !stopping) await begin();
    }
  }

  const deaf = conditions.map((condition) =>
    condition.onChange?.(() => {
      changed = true;
      wake();
    }),
  );
  if (await isAllowed()) await begin();
  const supervised = supervise().catch(end.reject);
  return {
    ended: end.promise,
    async stop() {
      stopping = true;
      wake();
      for (const unhear of deaf) unhear?.();
      await supervised;
      for (const condition of conditions) await condition.end?.();
      await halt();
      end.resolve();
    },
  };
}
