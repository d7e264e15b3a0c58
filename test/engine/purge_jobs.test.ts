import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";

describe("the retention of the ledger", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  beforeEach(async () => {
    await db.pool.query("truncate nexus_engine.job_run restart identity");
    await db.pool.query(`
      insert into nexus_engine.job_run (job_id, task, attempt, max_attempts, queued_at, due_at, started_at, finished_at, outcome)
      select n, 'probe', 1, 1, at, at, at, case when n <> 3 then at end, case when n <> 3 then 'succeeded' end
      from generate_series(1, 10) n cross join lateral (select timestamptz '2026-06-30' - (10 - n) * interval '1 day' as at) t`);
  });
  after(() => db.drop());

  const purge = async (keep: string, rows: number, limit = 100) => {
    const { rows: result } = await db
      .poolAs("nexus_worker")
      .query("select nexus_engine.purge_jobs('2026-06-30', $1, $2, $3) as deleted", [
        keep,
        rows,
        limit,
      ]);
    const { rows: left } = await db.pool.query(
      "select job_id::int from nexus_engine.job_run order by id",
    );
    return { deleted: result[0].deleted, left: left.map(({ job_id }) => job_id) };
  };

  it("deletes attempts that ended too long ago, never one that runs", async () => {
    assert.deepEqual(await purge("5 days", 1000), { deleted: 3, left: [3, 5, 6, 7, 8, 9, 10] });
  });

  it("keeps no more than so many, however young, and deletes only so many at once", async () => {
    assert.deepEqual(await purge("1 year", 4, 2), { deleted: 2, left: [3, 4, 5, 6, 7, 8, 9, 10] });
    assert.deepEqual(await purge("1 year", 4), { deleted: 3, left: [3, 7, 8, 9, 10] });
    assert.deepEqual(await purge("1 year", 4), { deleted: 0, left: [3, 7, 8, 9, 10] });
  });

  it("deletes jobs that failed for good as long ago, and no others", async () => {
    await db.pool.query(`
      insert into graphile_worker._private_tasks (identifier) values ('probe');
      insert into graphile_worker._private_jobs (id, task_id, payload, attempts, max_attempts, run_at, updated_at)
      overriding system value
      select n, (select id from graphile_worker._private_tasks where identifier = 'probe'), '{}', n % 3, 1 + n % 2, at, at
      from (values (2, timestamptz '2026-06-01'), (3, '2026-06-01'), (4, '2026-06-29'), (6, '2026-06-01')) v (n, at)`);
    const before = await db.pool.query(
      "select id::int, attempts >= max_attempts as failed from graphile_worker._private_jobs order by id",
    );
    assert.deepEqual(before.rows, [
      { id: 2, failed: true },
      { id: 3, failed: false },
      { id: 4, failed: true },
      { id: 6, failed: false },
    ]);
    await purge("5 days", 1000);
    const { rows } = await db.pool.query(
      "select id::int from graphile_worker._private_jobs order by id",
    );
    assert.deepEqual(
      rows.map(({ id }) => id),
      [3, 4, 6],
    );
  });
});
