import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { buildSchema } from "graphql";
import { unknownFields } from "./documents.ts";
import { areas } from "./run.ts";
import { openTarget, type Target } from "./target.ts";

/** A few seconds of what `npm run test:fuzz` does, always the same. */
describe("a slice of the fuzz tests", () => {
  let target: Target;
  before(async () => {
    target = await openTarget();
  });
  after(() => target.close());

  it("asks for fields that there are", () => {
    const text = readFileSync(new URL("../schema.graphql", import.meta.url), "utf8");
    assert.deepEqual(unknownFields(buildSchema(text)), []);
  });

  for (const [name, share, run] of areas) {
    it(`of ${name}`, async () => {
      await run(target, Math.ceil(share * 600), 20_261_124);
      await target.probe();
    });
  }
});
