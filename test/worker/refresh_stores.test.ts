import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import type { Pool } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore } from "../support/fixtures.ts";
import { jobsLeft, runJobs } from "../support/jobs.ts";

describe("refresh_stores", () => {
  let db: TestDatabase;
  let worker: Pool;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
  });
  afterEach(() => db.pool.query("delete from graphile_worker._private_jobs"));
  after(() => db.drop());

  const store = async (stock: number) => {
    const id = await addStore(db.pool);
    await addProduct(db.pool, id, { stock });
    return id;
  };
  const active = async (tienda: string) => {
    const { rows } = await db.pool.query<{ tipo: string }>(
      "select tipo from public.insights where tienda_id = $1 and is_active order by tipo",
      [tienda],
    );
    return rows.map(({ tipo }) => tipo);
  };
  const requestOf = async (id: string) =>
    (await db.pool.query("select * from nexus_engine.refresh_request where id = $1", [id])).rows[0];

  it("is enqueued from SQL inside the transaction that causes the work", async () => {
    const id = await store(5);
    await runJobs(worker); // A worker that starts registers the tasks; the first add_job would too.
    const client = await db.pool.connect();
    await client.query("begin");
    await client.query(
      "select graphile_worker.add_job('refresh_stores', json_build_object('tiendas', array[$1::uuid]))",
      [id],
    );
    await runJobs(worker);
    assert.deepEqual(await active(id), [], "not before the commit");
    await client.query("commit");
    client.release();
    await runJobs(worker);
    assert.deepEqual(await active(id), ["STOCK_BAJO"]);
    assert.deepEqual(await jobsLeft(db.pool), []);
  });

  it("takes every id that Postgres takes for a uuid", async () => {
    const id = "2294ac54-0081-dd44-6670-b375ee233262"; // no version, no variant of the standard
    await db.pool.query(
      "insert into public.tiendas (id, nombre, rubro, is_active) values ($1, 'x', 'x', true)",
      [id],
    );
    await addProduct(db.pool, id, { stock: 5 });
    await db.pool.query("select nexus_engine.request_refresh($1)", [id]);
    await runJobs(worker);
    assert.deepEqual(await active(id), ["STOCK_BAJO"]);
  });

  it("takes the types that are asked for, and passes over stores that are not active", async () => {
    const open = await store(0);
    const closed = await addStore(db.pool, { isActive: false });
    // Empties the outbox, of which a pass tells everything.
    await db.pool.query("delete from nexus_engine.stock_event");
    await db.pool.query("select graphile_worker.add_job('refresh_stores', $1)", [
      JSON.stringify({ tiendas: [closed, open], tipos: ["STOCK_BAJO"] }),
    ]);
    await runJobs(worker);
    assert.deepEqual(await active(open), []);
    assert.deepEqual(await jobsLeft(db.pool), []);
  });

  it("fails for good when no store or type is known", async () => {
    const known = await store(5);
    for (const [payload, message] of [
      [
        { tiendas: ["00000000-0000-4000-8000-000000000000"] },
        /payload\.tiendas: expected ids of active stores/,
      ],
      [{ tiendas: [known], tipos: ["NADA"] }, /payload\.tipos: expected types .*'NADA'/],
      [{ tiendas: "todas" }, /payload\.tiendas: .*expected an array/],
      [{ tienda: known }, /payload\.tiendas/],
    ] as const) {
      await db.pool.query("select graphile_worker.add_job('refresh_stores', $1)", [
        JSON.stringify(payload),
      ]);
      await runJobs(worker);
      const [job] = await jobsLeft(db.pool);
      assert.ok(job, JSON.stringify(payload));
      assert.equal(job.attempts, job.max_attempts);
      assert.match(job.last_error ?? "", message);
      await db.pool.query("delete from graphile_worker._private_jobs");
    }
  });

  it("takes a request from queued to succeeded, with the counts of each type", async () => {
    const id = await store(5);
    await addProduct(db.pool, id, { stock: 0 });
    const { rows } = await db.pool.query("select * from nexus_engine.request_refresh($1)", [id]);
    assert.equal(rows[0].status, "queued");
    await runJobs(worker);
    const request = await requestOf(rows[0].id);
    assert.equal(request.status, "succeeded");
    assert.deepEqual(request.counts["STOCK_BAJO"], {
      inserted: 1,
      updated: 0,
      archived: 0,
      failed: 0,
    });
    assert.ok(request.queued_at <= request.started_at && request.started_at <= request.finished_at);
  });

  it("tells the owner at once of an error that no further attempt can mend", async () => {
    const id = await store(5);
    const { rows } = await db.pool.query(
      "select * from nexus_engine.request_refresh($1, null, true)",
      [id],
    );
    await db.pool.query("alter table nexus_engine.open_insight rename to open_insight_elsewhere");
    await runJobs(worker).finally(() =>
      db.pool.query("alter table nexus_engine.open_insight_elsewhere rename to open_insight"),
    );
    const request = await requestOf(rows[0].id);
    assert.deepEqual([request.status, request.error_code], ["failed", "42P01"]);
  });

  it("tells the owner when a type failed, and keeps the others' work", async () => {
    const id = await store(5);
    await addSale(db.pool, id, { fecha: new Date(Date.now() - 24 * 3_600_000), total: 5 });
    // As a row of before they were checked.
    await db.pool.query(
      `alter table nexus_engine.insight_type disable trigger check_params;
       update nexus_engine.insight_type set params = '{"settle": "soon", "max_age": "3 days"}' where tipo = 'VENTAS_DIARIAS';
       alter table nexus_engine.insight_type enable trigger check_params`,
    );
    const { rows } = await db.pool.query("select * from nexus_engine.request_refresh($1)", [id]);
    await runJobs(worker);
    await db.pool.query(
      `update nexus_engine.insight_type set params = '{"settle": "30 seconds", "max_age": "3 days"}' where tipo = 'VENTAS_DIARIAS'`,
    );
    const request = await requestOf(rows[0].id);
    assert.deepEqual([request.status, request.error_code], ["failed", "INSIGHT_FAILED"]);
    assert.match(request.error_message, /VENTAS_DIARIAS/);
    assert.deepEqual(await active(id), ["STOCK_BAJO"]);
  });

  it("goes on as two halves when a batch runs into the time limit, its request with its store", async () => {
    const stores = [await store(5), await store(5), await store(5)];
    const { rows: requests } = await db.pool.query(
      "select * from nexus_engine.request_refresh($1)",
      [stores[0]],
    );
    const request_id = requests[0].id;
    await db.pool.query("delete from graphile_worker._private_jobs");
    await db.pool.query(
      `create function public.dawdle() returns trigger language plpgsql as $$ begin perform pg_sleep(0.15); return new; end $$;
       create trigger dawdle before insert on nexus_engine.open_insight for each row execute function public.dawdle()`,
    );
    await db.pool.query(
      "select graphile_worker.add_job('refresh_stores', $1, job_key => 'probe')",
      [JSON.stringify({ tiendas: stores, tipos: ["STOCK_BAJO"], request_id })],
    );
    await runJobs(worker, { settings: { jobTimeLimitMs: 400 } });
    await db.pool.query("drop function public.dawdle() cascade");
    assert.deepEqual(
      await Promise.all(stores.map(active)),
      stores.map(() => ["STOCK_BAJO"]),
    );
    assert.deepEqual(await jobsLeft(db.pool), []);
    const { rows } = await db.pool.query(
      "select count(*)::int as splits from nexus_engine.job_run where counts ? 'split'",
    );
    assert.equal(rows[0].splits, 1);
    assert.equal((await requestOf(request_id)).status, "succeeded");
  });
});
