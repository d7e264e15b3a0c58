import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore, addUser, reconcile } from "../support/fixtures.ts";
import { jobsLeft, runJobs } from "../support/jobs.ts";
import { until } from "../support/until.ts";
import { type Api, asRequest, startApi } from "./api.ts";

let db: TestDatabase;
let api: Api;
before(async () => {
  db = await createTestDatabase();
  api = await startApi(db);
});
after(async () => {
  await api.close();
  await db.drop();
});

async function owner() {
  const tienda = await addStore(db.pool);
  return { tienda, user: await addUser(db.pool, tienda) };
}

describe("refreshInsights", () => {
  const refresh = `mutation ($force: Boolean) { refreshInsights(input: {force: $force}) { refreshRequest { id status force counts { tipo } queuedAt startedAt finishedAt } } }`;
  const watch = `query ($id: UUID!) { refreshRequest(id: $id) { status counts { tipo inserted updated archived failed } errorCode errorMessage startedAt finishedAt } }`;
  const requests = async (tienda: string) =>
    (
      await db.pool.query("select * from nexus_engine.refresh_request where tienda_id = $1", [
        tienda,
      ])
    ).rows;

  it("enqueues a job that the store can watch until it has succeeded", async () => {
    const { tienda, user } = await owner();
    await addProduct(db.pool, tienda, { stock: 1 });
    const asked = await api.ask(user, refresh);
    assert.deepEqual(asked.errors, []);
    const { id, queuedAt, ...request } = asked.data.refreshInsights.refreshRequest;
    assert.ok(queuedAt);
    assert.deepEqual(request, {
      status: "QUEUED",
      force: false,
      counts: [],
      startedAt: null,
      finishedAt: null,
    });
    assert.equal((await requests(tienda))[0].requested_by, user);

    await runJobs(db.poolAs("nexus_worker"));
    const { data } = await api.ask(user, watch, { id });
    const { startedAt, finishedAt, ...done } = data.refreshRequest;
    assert.ok(startedAt && finishedAt);
    assert.equal(done.status, "SUCCEEDED");
    assert.deepEqual([done.errorCode, done.errorMessage], [null, null]);
    assert.deepEqual(
      done.counts.find(({ tipo }: { tipo: string }) => tipo === "STOCK_BAJO"),
      { tipo: "STOCK_BAJO", inserted: 1, updated: 0, archived: 0, failed: 0 },
    );
  });

  it("needs no argument", async () => {
    const { user } = await owner();
    const { data } = await api.ask(
      user,
      "mutation { refreshInsights { refreshRequest { status } } }",
    );
    assert.deepEqual(data.refreshInsights, { refreshRequest: { status: "QUEUED" } });
  });

  it("returns the queued request to whoever asks again, raised to force", async () => {
    const { tienda, user } = await owner();
    const first = (await api.ask(user, refresh)).data.refreshInsights.refreshRequest;
    const second = (await api.ask(user, refresh, { force: true })).data.refreshInsights
      .refreshRequest;
    const third = (await api.ask(user, refresh, { force: false })).data.refreshInsights
      .refreshRequest;
    assert.deepEqual([second.id, third.id], [first.id, first.id]);
    assert.deepEqual([first.force, second.force, third.force], [false, true, true]);
    assert.equal((await requests(tienda)).length, 1);
  });

  it("is one when ten ask at once", async () => {
    const { tienda, user } = await owner();
    const answers = await Promise.all(Array.from({ length: 10 }, () => api.ask(user, refresh)));
    const ids = answers.map(({ data }) => data.refreshInsights.refreshRequest.id);
    assert.equal(new Set(ids).size, 1);
    assert.equal((await requests(tienda)).length, 1);
  });

  it("is enqueued in the caller's transaction: rolled back, it leaves no job and no request", async () => {
    const { tienda, user } = await owner();
    await db.pool.query("delete from graphile_worker._private_jobs");
    const status = await asRequest(api.pool, user, "rollback", async (query) => {
      const { rows } = await query<{ status: string }>(
        "select status from nexus_api.refresh_insights(true)",
      );
      return rows[0]?.status;
    });
    assert.equal(status, "queued");
    assert.deepEqual(await jobsLeft(db.pool), []);
    assert.deepEqual(await requests(tienda), []);
  });

  it("shows why it failed", async () => {
    const { tienda, user } = await owner();
    const { rows } = await db.pool.query<{ id: string }>(
      `insert into nexus_engine.refresh_request (tienda_id, status, error_code, error_message, counts)
       values ($1, 'failed', 'INSIGHT_FAILED', 'No se pudo', '{"STOCK_BAJO": {"inserted": 0, "updated": 0, "archived": 0, "failed": 1}}')
       returning id`,
      [tienda],
    );
    const { data } = await api.ask(user, watch, { id: rows[0]?.id });
    assert.deepEqual(data.refreshRequest, {
      status: "FAILED",
      errorCode: "INSIGHT_FAILED",
      errorMessage: "No se pudo",
      startedAt: null,
      finishedAt: null,
      counts: [{ tipo: "STOCK_BAJO", inserted: 0, updated: 0, archived: 0, failed: 1 }],
    });
  });
});

describe("dismissInsight", () => {
  const dismiss =
    "mutation ($id: UUID!) { dismissInsight(input: {id: $id}) { insight { id isActive } } }";

  it("archives the insight as the POS does; twice is the same as once", async () => {
    const { tienda, user } = await owner();
    await addProduct(db.pool, tienda, { stock: 1 });
    await reconcile(db.pool, [tienda], new Date());
    const { rows } = await db.pool.query("select * from public.insights where tienda_id = $1", [
      tienda,
    ]);
    const { id, is_active: _, ...before } = rows[0];
    for (const _ of [1, 2]) {
      const { data, errors } = await api.ask(user, dismiss, { id });
      assert.deepEqual(
        [data, errors],
        [{ dismissInsight: { insight: { id, isActive: false } } }, []],
      );
    }
    const { rows: now } = await db.pool.query(
      "select * from public.insights where tienda_id = $1",
      [tienda],
    );
    assert.deepEqual(now, [{ id, is_active: false, ...before }]);
    // It stays away: the cause is still there and no worse.
    await reconcile(db.pool, [tienda], new Date());
    const { data } = await api.ask(
      user,
      "{ insights(filter: {isActive: {equalTo: true}}) { totalCount } }",
    );
    assert.equal(data.insights.totalCount, 0);
  });

  it("refuses an insight that the store does not have", async () => {
    const { user } = await owner();
    const other = await owner();
    await addProduct(db.pool, other.tienda, { stock: 1 });
    await reconcile(db.pool, [other.tienda], new Date());
    const { rows } = await db.pool.query("select id from public.insights where tienda_id = $1", [
      other.tienda,
    ]);
    for (const id of [rows[0].id, randomUUID()]) {
      const { data, errors } = await api.ask(user, dismiss, { id });
      assert.deepEqual(data, { dismissInsight: null });
      assert.deepEqual(
        errors.map((e) => e.extensions),
        [{ code: "NOT_FOUND", field: "id" }],
      );
    }
    const { rows: untouched } = await db.pool.query(
      "select is_active from public.insights where id = $1",
      [rows[0].id],
    );
    assert.deepEqual(untouched, [{ is_active: true }]);
  });
});

describe("clearInsights", () => {
  const fill = async (tienda: string) => {
    await db.pool.query(
      `insert into public.insights (id, tienda_id, tipo, mensaje, nivel_urgencia, is_active)
       select gen_random_uuid(), $1, 'X', '', 'BAJA', n <= 2 from generate_series(1, 5) n`,
      [tienda],
    );
  };
  const left = async (tienda: string) =>
    (await db.pool.query("select from public.insights where tienda_id = $1", [tienda])).rowCount;

  it("deletes the archived ones, and with onlyArchived: false all", async () => {
    const { tienda, user } = await owner();
    const other = await owner();
    await Promise.all([fill(tienda), fill(other.tienda)]);
    const clear = async (input: string) =>
      (await api.ask(user, `mutation { clearInsights${input} { deleted } }`)).data.clearInsights
        .deleted;
    assert.deepEqual([await clear(""), await left(tienda)], [3, 2]);
    assert.deepEqual([await clear("(input: {onlyArchived: null})"), await left(tienda)], [0, 2]);
    assert.deepEqual([await clear("(input: {onlyArchived: false})"), await left(tienda)], [2, 0]);
    assert.equal(await left(other.tienda), 5);
  });

  it("waits for whoever writes the active ones of the store, else each would wait for the other", async () => {
    const { tienda, user } = await owner();
    await fill(tienda);
    const writing = await db.pool.connect();
    await writing.query("begin");
    await writing.query("select nexus_engine.lock_stores(array[$1::uuid])", [tienda]);
    const clearing = api.ask(
      user,
      "mutation { clearInsights(input: {onlyArchived: false}) { deleted } }",
    );
    await until("it waits for the store", async () => {
      const { rows } = await db.pool.query(
        `select from pg_locks where locktype = 'advisory' and not granted
           and database = (select oid from pg_database where datname = current_database())`,
      );
      return rows.length > 0;
    });
    // One that it would have deleted by now, were it not for the lock.
    await writing.query(
      "update public.insights set mensaje = 'Y' where tienda_id = $1 and is_active",
      [tienda],
    );
    await writing.query("commit");
    writing.release();
    assert.deepEqual([(await clearing).data.clearInsights.deleted, await left(tienda)], [5, 0]);
  });
});
