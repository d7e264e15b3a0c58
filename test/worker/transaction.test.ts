import assert from "node:assert/strict";
import { it } from "node:test";
import type { Pool } from "pg";
import { CancelledError } from "../../src/worker/failure.ts";
import { inTransaction } from "../../src/worker/transaction.ts";

it("begins no transaction for a job that was cancelled while it waited for a connection", async () => {
  const cancelling = new AbortController();
  const asked: unknown[] = [];
  const released: unknown[] = [];
  const pool = {
    connect: async () => {
      cancelling.abort(new CancelledError("cancelled: no longer wanted"));
      return {
        query: async (text: unknown) => asked.push(text),
        release: (broken?: boolean) => released.push(broken ?? false),
      };
    },
  } as unknown as Pool;
  const limits = { signal: cancelling.signal, deadline: performance.now() + 10_000, farewellMs: 1 };
  await assert.rejects(
    inTransaction(pool, { id: "1", locked_by: "worker" }, limits, async () => {}),
    CancelledError,
  );
  assert.deepEqual([asked, released], [[], [false]]);
});
