import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { areas } from "./run.ts";
import { openTarget, type Target } from "./target.ts";

const inputs = Number(process.env["FUZZ_INPUTS"] ?? 20_000);
const seed = Number(process.env["FUZZ_SEED"] ?? Date.now() % 2 ** 31);

describe(`the fuzz tests, ${inputs} inputs, FUZZ_SEED=${seed}`, () => {
  let target: Target;
  before(async () => {
    target = await openTarget();
  });
  after(async () => {
    const counts = [...target.counts].sort(([a], [b]) => a.localeCompare(b));
    console.log(counts.map(([key, count]) => `${String(count).padStart(7)}  ${key}`).join("\n"));
    await target.close();
  });

  for (const [name, share, run] of areas) {
    it(name, async () => {
      await run(target, Math.ceil(share * inputs), seed);
      await target.probe();
      const answers = [...target.counts].filter(([key]) => key.startsWith(`${name}: `));
      assert.ok(answers.length > 0, "nothing was counted");
    });
  }
});
