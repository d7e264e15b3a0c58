import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import fc from "fast-check";

/**
 * Tries a property on random data for so many seconds, and says how often. PROPERTY_SECONDS takes the
 * place of what is usual in npm test: `npm run test:properties` gives each two minutes. To shrink what
 * failed, runs must not depend on one another.
 */
export async function holdsAlways<Ts>(
  t: TestContext,
  property: fc.IAsyncProperty<Ts>,
  usualSeconds: number,
  { shrink = false } = {},
): Promise<void> {
  const seconds = Number(process.env.PROPERTY_SECONDS ?? usualSeconds);
  const result = await fc.check(property, {
    numRuns: 1_000_000,
    interruptAfterTimeLimit: seconds * 1000,
    markInterruptAsFailure: false,
    endOnFailure: !shrink,
  });
  if (result.failed) {
    throw new Error(await fc.asyncDefaultReportMessage(result), { cause: result.errorInstance });
  }
  assert.ok(result.numRuns > 0, "not even one was tried");
  t.diagnostic(`${result.numRuns} runs`);
}
