import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import type { Pool } from "pg";
import { z } from "zod";
import { defineTask, PermanentError, type TaskDefinition } from "../../src/worker/define-task.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { jobsLeft, runJobs } from "../support/jobs.ts";

describe("what surrounds a task", () => {
  let db: TestDatabase;
  let worker: Pool;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
  });
  afterEach(() => db.pool.query("delete from graphile_worker._private_jobs"));
  after(() => db.drop());

  const enqueue = (payload: unknown) =>
    db.pool.query("select graphile_worker.add_job('probe', $1)", [JSON.stringify(payload)]);
  const probe = (task: TaskDefinition, settings = {}) =>
    runJobs(worker, { tasks: { probe: task }, settings });
  const greeting = z.strictObject({
    name: z.string(),
    count: z.number().int().min(1),
  });

  it("hands over the checked payload and completes the job", async () => {
    const seen: unknown[] = [];
    await enqueue({ name: "a", count: 2 });
    await probe(
      defineTask({
        payload: greeting,
        run: async ({ payload }) => {
          seen.push(payload);
          return undefined;
        },
      }) as TaskDefinition,
    );
    assert.deepEqual(seen, [{ name: "a", count: 2 }]);
    assert.deepEqual(await jobsLeft(db.pool), []);
  });

  it("fails an invalid payload once, for good, saying which field, what was expected, what came", async () => {
    await enqueue({ name: 7, count: 0, nombre: "x", since: null });
    let ran = false;
    await probe(
      defineTask({
        payload: greeting.extend({ names: z.array(z.string()), since: z.object({}).optional() }),
        run: async () => {
          ran = true;
          return undefined;
        },
      }) as TaskDefinition,
    );
    assert.equal(ran, false);
    const [job, ...others] = await jobsLeft(db.pool);
    assert.equal(others.length, 0);
    assert.equal(job?.attempts, job?.max_attempts);
    assert.equal(job?.locked_by, null);
    assert.equal(
      job?.last_error?.split("\n", 1)[0],
      "probe: payload.name: expected text, got 7; payload.count: expected a number of at least 1, got 0; " +
        "payload.names: expected an array, got nothing; payload.since: expected an object, got null; " +
        'payload.nombre: expected no such field, got "x"',
    );
  });

  it("retries an ordinary error and gives up on a permanent one", async () => {
    await enqueue({});
    await probe({
      payload: z.unknown(),
      run: async () => {
        throw new Error("connection reset");
      },
    });
    const [ordinary] = await jobsLeft(db.pool);
    assert.deepEqual([ordinary?.attempts, ordinary?.max_attempts], [1, 25]);
    await db.pool.query("update graphile_worker._private_jobs set run_at = now()");
    await probe({
      payload: z.unknown(),
      run: async () => {
        throw new PermanentError("no such thing");
      },
    });
    const [permanent] = await jobsLeft(db.pool);
    assert.deepEqual([permanent?.attempts, permanent?.max_attempts], [2, 2]);
  });

  it("cancels the SQL that is running at the time limit, and its transaction is gone", async () => {
    await db.pool.query("create table public.probe (n int)");
    await db.pool.query("grant insert on public.probe to nexus_worker");
    await enqueue({});
    const started = performance.now();
    await probe(
      {
        payload: z.unknown(),
        run: ({ transaction }) =>
          transaction(async (client) => {
            await client.query("insert into public.probe values (1)");
            await client.query("select pg_sleep(60)");
            return undefined;
          }),
      },
      { jobTimeLimitMs: 300 },
    );
    assert.ok(performance.now() - started < 30_000, "long before the sleep would have ended");
    assert.match((await jobsLeft(db.pool))[0]?.last_error ?? "", /statement timeout/);
    assert.equal((await db.pool.query("select from public.probe")).rowCount, 0);
  });
});
