import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as immediate } from "node:timers/promises";
import { makeShare } from "../../src/graphql/shares.ts";
import { makeTurns } from "../../src/graphql/turns.ts";

const pending = async (turn: Promise<boolean>) =>
  (await Promise.race([turn, new Promise((resolve) => setImmediate(resolve, "waits"))])) ===
  "waits";

describe("the turns of a user's requests", () => {
  it("are six at once and a hundred that wait, in their order; others have their own", async () => {
    const turns = makeTurns();
    const running = Array.from({ length: 6 }, () => turns.take("a"));
    assert.deepEqual(await Promise.all(running), Array(6).fill(true));
    const waiting = Array.from({ length: 100 }, () => turns.take("a"));
    assert.equal(await turns.take("a"), false);
    assert.equal(await turns.take("b"), true);
    assert.ok((await Promise.all(waiting.map(pending))).every(Boolean));
    turns.give("a");
    assert.equal(await waiting[0], true);
    assert.ok(await pending(waiting[1] as Promise<boolean>));
    assert.ok(await pending(turns.take("a")), "one place to wait is free again");
    for (let n = 0; n < 106; n += 1) turns.give("a");
    assert.deepEqual(await Promise.all(waiting), Array(100).fill(true));
    assert.equal(await turns.take("a"), true);
  });
});

describe("a user's share of the pool", () => {
  it("is three connections at once, in their order, and free again after an error", async () => {
    const share = makeShare();
    const started: number[] = [];
    const works = Array.from({ length: 9 }, () => Promise.withResolvers<void>());
    const held = works.map(({ promise }, n) =>
      share(n % 2 ? "a" : "A", () => {
        started.push(n);
        return promise;
      }),
    );
    const settled = Promise.allSettled(held);
    await immediate();
    assert.deepEqual(started, [0, 1, 2]);
    assert.equal(await share("b", async () => "b"), "b");
    works[1]?.reject(new Error("no"));
    await immediate();
    assert.deepEqual(started, [0, 1, 2, 3]);
    for (const { resolve } of works) resolve();
    assert.deepEqual(
      (await settled).map(({ status }) => status === "fulfilled"),
      works.map((_, n) => n !== 1),
    );
    const thrown = share("a", () => {
      throw new Error("at once");
    });
    await assert.rejects(thrown, /at once/);
    const again = [1, 2, 3].map((n) => share("a", async () => n));
    assert.deepEqual(await Promise.all(again), [1, 2, 3]);
  });
});
