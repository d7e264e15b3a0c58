import { setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString, writeHeapSnapshot } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Loaded into the process that is measured, before its own code: answers its parent's questions about
 * its memory. Does nothing by itself, and does not keep the process alive.
 */
export type Question = { ask: "usage" } | { ask: "collect"; snapshot?: string };

process.on("message", async (question: Question) => {
  if (question.ask === "collect") {
    await collect();
    if (question.snapshot) writeHeapSnapshot(question.snapshot);
  }
  process.send?.(process.memoryUsage());
});
process.channel?.unref();

/** Several times: what a finalizer lets go of is garbage only to the next one. */
async function collect(): Promise<void> {
  setFlagsFromString("--expose-gc");
  const gc: () => void = runInNewContext("gc");
  for (let pass = 0; pass < 4; pass += 1) {
    gc();
    await turn();
  }
}
