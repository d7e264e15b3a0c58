import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fuzzPayloads, openPayloads } from "./payloads.ts";

const payloads = Number(process.env["FUZZ_PAYLOADS"] ?? 5_000);
const seed = Number(process.env["FUZZ_SEED"] ?? Date.now() % 2 ** 31);

describe(`jobs enqueued from SQL, ${payloads} payloads, FUZZ_SEED=${seed}`, () => {
  it("run, or fail once and for good with a message that says why", async () => {
    const target = await openPayloads();
    try {
      await fuzzPayloads(target, payloads, seed);
      const counts = [...target.counts].sort(([a], [b]) => a.localeCompare(b));
      console.log(counts.map(([key, n]) => `${String(n).padStart(7)}  ${key}`).join("\n"));
      const total = counts.reduce((sum, [, n]) => sum + n, 0);
      assert.ok(total >= payloads, `${total} counted`);
    } finally {
      await target.db.drop();
    }
  });
});
