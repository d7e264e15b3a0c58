import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { fuzzPayloads, openPayloads } from "../fuzz/payloads.ts";

/** A slice of test/fuzz/payloads.fuzz.ts, always the same. */
describe("jobs enqueued from SQL with any payload", () => {
  let target: Awaited<ReturnType<typeof openPayloads>>;
  before(async () => {
    target = await openPayloads();
  });
  after(() => target.db.drop());

  it("run, or fail once and for good with a message that says why, and touch no store that is not named", async () => {
    await fuzzPayloads(target, 200, 20_261_124, { slice: true });
    const of = (outcome: string) =>
      [...target.counts]
        .filter(([key]) => key.includes(outcome))
        .reduce((sum, [, n]) => sum + n, 0);
    const [succeeded, payload, permanent] = [
      of(": succeeded"),
      of(": failed PAYLOAD"),
      of(": failed PERMANENT"),
    ];
    assert.ok(succeeded > 40 && payload > 100 && permanent > 3, String([...target.counts]));
  });
});
