import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { TestDatabase } from "../support/database.ts";
import { until } from "../support/until.ts";
import { addProbe, createProbeDatabase, runsOf, startProbeWorker } from "./probes.ts";

describe("a worker that hears notifications, which whoever may connect can send", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createProbeDatabase();
  });
  after(() => db.drop());

  it("goes on whatever they say, and stops for a migration that there was", async () => {
    const worker = await startProbeWorker(db.url);
    let ended = false;
    worker.ended.finally(() => {
      ended = true;
    });
    try {
      const breaking = '{"migrationNumber": 9999, "breaking": true}';
      for (const payload of [
        breaking,
        "",
        "{",
        "null",
        '"x"',
        '{"count": 1e400}',
        "x".repeat(7_999),
      ]) {
        for (const channel of ["worker:migrate", "jobs:insert", "nexus_cancel", "nexus_stock"]) {
          await db.pool.query("select pg_notify($1, $2)", [channel, payload]);
        }
      }
      const job = await addProbe(db, { name: "after" });
      await until("a job is done", async () => (await runsOf(db, job))[0]?.outcome === "succeeded");
      assert.equal(ended, false);

      await db.pool.query(
        "insert into graphile_worker.migrations (id, breaking) values (9999, true)",
      );
      await db.pool.query("select pg_notify('worker:migrate', '')");
      await until("it stops", () => ended);
    } finally {
      await worker.stop();
    }
  });
});
