import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { keepRunning } from "../../src/database/keep-running.ts";
import { createHealth } from "../../src/health.ts";
import { createLog } from "../../src/log.ts";
import type { TestDatabase } from "../support/database.ts";
import { until } from "../support/until.ts";
import { addProbe, createProbeDatabase, runsOf, startProbeWorker } from "./probes.ts";

describe("a worker that Graphile Worker ends by a fault", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createProbeDatabase();
  });
  after(() => db.drop());

  it("starts again, and what was done by then is not done a second time", async () => {
    // Done jobs are deleted: the first time, this fails.
    await db.pool.query(`
      create sequence public.faults;
      grant usage on public.faults to nexus_worker;
      create function public.fail_once() returns trigger language plpgsql as $$
      begin
        if nextval('public.faults') = 1 then raise 'no deletes today'; end if;
        return old;
      end $$;
      create trigger fail_once before delete on graphile_worker._private_jobs
      for each row execute function public.fail_once()`);
    let starts = 0;
    const worker = await keepRunning(
      "worker",
      () => {
        starts += 1;
        return startProbeWorker(db.url);
      },
      createLog("silent"),
      createHealth(),
    );
    try {
      const first = await addProbe(db, { name: "first" });
      await until("it starts again", () => starts === 2);
      const second = await addProbe(db, { name: "second" });
      await until(
        "the second job is done",
        async () => (await runsOf(db, second))[0]?.outcome === "succeeded",
      );
      await until("no job is left", async () => {
        const { rows } = await db.pool.query(
          "select from graphile_worker.jobs where task_identifier = 'probe'",
        );
        return rows.length === 0;
      });
      assert.deepEqual(
        (await runsOf(db, first)).map((run) => run.outcome),
        ["succeeded"],
      );
      const { rows } = await db.pool.query("select name from public.probe order by name");
      assert.deepEqual(rows, [{ name: "first" }, { name: "second" }]);
    } finally {
      await worker.stop();
    }
    assert.equal((await db.pool.query("select from nexus_engine.worker_pool")).rowCount, 0);
  });
});
