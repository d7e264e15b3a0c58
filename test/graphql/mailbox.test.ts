import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createMailbox } from "../../src/graphql/mailbox.ts";

const add = (n: number) => (waiting: number[] | undefined) => [...(waiting ?? []), n];

describe("a mailbox", () => {
  const open = (options: { minGapMs?: number; mayDeliver?: () => boolean } = {}) => {
    const ended: true[] = [];
    const mailbox = createMailbox<number[]>({
      minGapMs: options.minGapMs ?? 0,
      mayDeliver: options.mayDeliver ?? (() => true),
      onEnd: () => ended.push(true),
    });
    return { mailbox, ended };
  };

  it("hands over at once what comes to a waiting reader, and merges what comes to a busy one", async () => {
    const { mailbox } = open();
    const first = mailbox.next();
    for (const n of [1, 2, 3]) mailbox.put(add(n));
    assert.deepEqual((await first).value, [1]);
    assert.deepEqual((await mailbox.next()).value, [2, 3]);
  });

  it("holds everything back, merged, while its reader's client does not keep up", async () => {
    let free = false;
    const { mailbox } = open({ minGapMs: 5, mayDeliver: () => free });
    let read: unknown;
    void mailbox.next().then(({ value }) => {
      read = value;
    });
    for (let n = 0; n < 1000; n += 1) mailbox.put((waiting) => [(waiting?.[0] ?? 0) + 1]);
    await sleep(30);
    assert.equal(read, undefined);
    free = true;
    await sleep(30);
    assert.deepEqual(read, [1000]);
  });

  it("keeps its distance between two deliveries", async () => {
    const { mailbox } = open({ minGapMs: 40 });
    mailbox.put(add(1));
    await mailbox.next();
    const started = performance.now();
    mailbox.put(add(2));
    mailbox.put(add(3));
    assert.deepEqual((await mailbox.next()).value, [2, 3]);
    assert.ok(performance.now() - started > 30);
  });

  it("ends its reader, once, and takes nothing more", async () => {
    const { mailbox, ended } = open();
    const waiting = mailbox.next();
    await mailbox.return?.();
    await mailbox.throw?.(new Error("again"));
    mailbox.put(add(1));
    assert.deepEqual(
      [await waiting, await mailbox.next()].map(({ done }) => done),
      [true, true],
    );
    assert.deepEqual(ended, [true]);
  });
});
