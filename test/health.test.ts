import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createHealth } from "../src/health.ts";

describe("the worker's health", () => {
  const refused = Object.assign(new Error("a value: 4711"), { code: "40001" });
  const setUp = () => {
    let ms = 0;
    const health = createHealth(() => ms);
    return {
      health,
      wait: (seconds: number) => {
        ms += 1000 * seconds;
      },
    };
  };

  it("is bad once work has failed for half a minute, until it is done again; without values", () => {
    const { health, wait } = setUp();
    health.failed("the drain", refused);
    wait(29);
    assert.deepEqual(health.problems(), []);
    wait(1);
    health.failed("the drain", refused);
    assert.deepEqual(health.problems(), ["the drain has failed for 30 s, last with 40001"]);
    health.succeeded("the drain");
    assert.deepEqual(health.problems(), []);
  });

  it("is not judged by two jobs that fail again and again, but by three", () => {
    const { health, wait } = setUp();
    for (const job of ["1", "2", "1", "2"]) {
      health.failed("every task", refused, job);
      wait(60);
    }
    assert.deepEqual(health.problems(), []);
    health.failed("every task", refused, "3");
    assert.deepEqual(health.problems(), ["every task has failed for 240 s, last with 40001"]);
  });

  it("has warnings that do not make it bad", () => {
    const { health } = setUp();
    health.warn("clock", "late");
    assert.deepEqual([health.problems(), health.warnings()], [[], ["late"]]);
    health.warn("clock", undefined);
    assert.deepEqual(health.warnings(), []);
  });
});
