import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  CancelledError,
  describeFailure,
  PayloadError,
  ShutdownError,
  TimeLimitError,
} from "../../src/worker/failure.ts";

const sql = (code: string) => Object.assign(new Error(code), { code });
const outcome = (error: unknown, aborted?: unknown, last = false) => {
  const { outcome, code } = describeFailure(error, aborted, last);
  return [outcome, code];
};

describe("what an error means for its job", () => {
  it("retries what passes by itself", () => {
    const passing = "08006 25006 40001 40P01 53300 55P03 57P01 58030 XX000 ECONNREFUSED EPIPE";
    for (const code of passing.split(" ")) {
      assert.deepEqual(outcome(sql(code)), ["retrying", code]);
    }
    assert.deepEqual(outcome(new Error("no answer")), ["retrying", "Error"]);
    assert.deepEqual(outcome("thrown text"), ["retrying", "UNKNOWN"]);
  });

  it("gives up on what does not, and after the last attempt", () => {
    for (const code of "22P02 23505 42883 P0001 NX001".split(" ")) {
      assert.deepEqual(outcome(sql(code)), ["failed", code]);
    }
    assert.deepEqual(outcome(new PayloadError("x")), ["failed", "PAYLOAD"]);
    assert.deepEqual(outcome(new RangeError("x")), ["failed", "RangeError"]);
    assert.deepEqual(outcome(sql("40001"), undefined, true), ["failed", "40001"]);
  });

  it("knows who ended it from the reason, whatever error came of that", () => {
    const cut = new Error("Connection terminated");
    assert.deepEqual(outcome(cut, new TimeLimitError("x")), ["timed_out", "57014"]);
    assert.deepEqual(outcome(sql("57014")), ["timed_out", "57014"]);
    assert.deepEqual(outcome(cut, new CancelledError("x")), ["cancelled", "CANCELLED"]);
    assert.deepEqual(outcome(cut, new ShutdownError("x"), true), ["retrying", "SHUTDOWN"]);
    assert.deepEqual(outcome(new PayloadError("x"), new TimeLimitError("x")), [
      "failed",
      "PAYLOAD",
    ]);
  });
});
