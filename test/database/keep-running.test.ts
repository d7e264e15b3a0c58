import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { backoff } from "../../src/database/away.ts";
import { keepRunning, type Running } from "../../src/database/keep-running.ts";
import { createHealth } from "../../src/health.ts";
import { createLog } from "../../src/log.ts";

const log = createLog("silent");
const health = () => createHealth();
const quick = { firstMs: 1, mostMs: 4 };
const away = () => Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });

/** Something that is started, ends when told to, and counts. */
function worker(failures: (Error | undefined)[] = []) {
  const counts = { started: 0, running: 0 };
  let end: (error?: Error) => void = () => {};
  const start = async (): Promise<Running> => {
    counts.started += 1;
    const failure = failures.shift();
    if (failure) throw failure;
    counts.running += 1;
    const ended = Promise.withResolvers<void>();
    ended.promise.catch(() => {});
    let stopped = false;
    end = (error) => (error ? ended.reject(error) : ended.resolve());
    return {
      ended: ended.promise,
      stop: async () => {
        if (!stopped) counts.running -= 1;
        stopped = true;
        ended.resolve();
      },
    };
  };
  return { counts, start, end: (error?: Error) => end(error) };
}

describe("what is kept running", () => {
  it("is started again when it ends by itself, however that is, until Postgres is there", async () => {
    const { counts, start, end } = worker([undefined, away(), away(), undefined, undefined]);
    const kept = await keepRunning("worker", start, log, health(), quick);
    end();
    while (counts.started < 4 || counts.running < 1) await sleep(1);
    assert.deepEqual(counts, { started: 4, running: 1 });
    end(new Error("lost"));
    while (counts.started < 5 || counts.running < 1) await sleep(1);
    await kept.stop();
    assert.deepEqual(counts, { started: 5, running: 0 });
    await sleep(20);
    assert.equal(counts.started, 5);
  });

  it("is a problem of this process while it cannot be started again", async () => {
    let now = 0;
    const told = createHealth(() => now);
    const { counts, start, end } = worker([undefined, away(), away(), undefined]);
    const kept = await keepRunning("worker", start, log, told, { firstMs: 20, mostMs: 20 });
    end();
    while (counts.started < 2) await sleep(1);
    now = 31_000;
    while (told.problems().length === 0) await sleep(1);
    assert.deepEqual(told.problems(), [
      "the start of the worker has failed for 31 s, last with ECONNREFUSED",
    ]);
    while (counts.running < 1) await sleep(1);
    await sleep(1);
    assert.deepEqual(told.problems(), []);
    await kept.stop();
  });

  it("fails when it cannot be started for a reason that will not pass, the first time at once", async () => {
    await assert.rejects(
      keepRunning("worker", worker([away()]).start, log, health(), quick),
      /ECONNREFUSED/,
    );
    const { counts, start, end } = worker([undefined, new Error("no such function")]);
    const kept = await keepRunning("worker", start, log, health(), quick);
    end();
    await assert.rejects(kept.failed, /no such function/);
    await kept.stop();
    assert.deepEqual(counts, { started: 2, running: 0 });
  });

  it("stops while it waits, and while it is being started", async () => {
    const waiting = worker([undefined, away()]);
    const first = await keepRunning("worker", waiting.start, log, health(), {
      firstMs: 1,
      mostMs: 60_000,
    });
    waiting.end();
    while (waiting.counts.started < 2) await sleep(1);
    await first.stop();

    const { counts, start, end } = worker();
    const gate = Promise.withResolvers<void>();
    let calls = 0;
    const second = await keepRunning(
      "worker",
      async () => {
        calls += 1;
        if (calls > 1) await gate.promise;
        return start();
      },
      log,
      health(),
      quick,
    );
    end();
    while (calls < 2) await sleep(1);
    const stopped = second.stop();
    gate.resolve();
    await stopped;
    assert.deepEqual(counts, { started: 2, running: 0 });
  });

  it("waits longer each time, up to a limit, and never all at once", () => {
    const { next, reset } = backoff(100, 1000);
    const waits = Array.from({ length: 8 }, next);
    for (const [n, most] of [100, 200, 400, 800, 1000, 1000, 1000, 1000].entries()) {
      const wait = waits[n] as number;
      assert.ok(wait >= most / 2 && wait <= most, `${wait} of ${most}`);
    }
    assert.equal(new Set(waits).size, 8);
    reset();
    assert.ok(next() <= 100);
  });
});
