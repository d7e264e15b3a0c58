import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore, addUser, reconcile, setSettings } from "../support/fixtures.ts";
import { type Api, startApi } from "./api.ts";

describe("a mutation of what another session has locked", () => {
  let db: TestDatabase;
  let api: Api;
  before(async () => {
    db = await createTestDatabase();
    // Longer than the test may last: it is not the request's time limit that ends a mutation.
    api = await startApi(db, { statementTimeoutMs: 120_000 });
  });
  after(async () => {
    await api.close();
    await db.drop();
  });

  it("ends soon, with a code that says to try again, and then is done", async () => {
    const tienda = await addStore(db.pool);
    const user = await addUser(db.pool, tienda);
    await addProduct(db.pool, tienda, { stock: 1 });
    await setSettings(db.pool, tienda, { lead_time_days: 2 });
    await reconcile(db.pool, [tienda], new Date());
    const { rows } = await db.pool.query<{ id: string }>(
      "select id from public.insights where tienda_id = $1",
      [tienda],
    );
    await db.pool.query("select nexus_engine.request_refresh($1)", [tienda]);
    const mutations = [
      `mutation { dismissInsight(input: {id: "${rows[0]?.id}"}) { insight { isActive } } }`,
      "mutation { refreshInsights(input: {force: true}) { refreshRequest { force } } }",
      "mutation { updateStoreSettings(input: {patch: {leadTimeDays: 4}}) { storeSettings { leadTimeDays } } }",
      "mutation { clearInsights(input: {onlyArchived: false}) { deleted } }",
    ];
    const holder = await db.pool.connect();
    await holder.query("begin");
    for (const table of [
      "public.insights",
      "nexus_engine.refresh_request",
      "nexus_engine.store_settings",
    ]) {
      await holder.query(`select from ${table} where tienda_id = $1 for update`, [tienda]);
    }
    const refused = await Promise.all(mutations.map((mutation) => api.ask(user, mutation)));
    await holder.query("rollback");
    holder.release();
    assert.deepEqual(
      refused.map(({ code }) => code),
      mutations.map(() => "UNAVAILABLE"),
    );
    assert.match(refused[0]?.errors[0]?.message ?? "", /try again/);
    for (const mutation of mutations) assert.deepEqual((await api.ask(user, mutation)).errors, []);
  });

  it("is refused soon as well where an allowance is locked", async () => {
    const user = await addUser(db.pool, await addStore(db.pool));
    const mutation = "mutation { clearInsights { deleted } }";
    assert.deepEqual((await api.ask(user, mutation)).errors, []);
    const holder = await db.pool.connect();
    await holder.query("begin");
    await holder.query("select from nexus_engine.mutation_allowance where id = $1 for update", [
      user,
    ]);
    const refused = await api.ask(user, mutation);
    await holder.query("rollback");
    holder.release();
    assert.equal(refused.code, "UNAVAILABLE");
    assert.deepEqual((await api.ask(user, mutation)).errors, []);
  });

  it("is ended so by every function that writes", async () => {
    const { rows } = await db.pool.query<{ name: string }>(
      `select proname as name from pg_proc
       where pronamespace = 'nexus_api'::regnamespace and provolatile = 'v'
         and coalesce(array_to_string(proconfig, ' '), '') not like '%lock_timeout=500ms%'`,
    );
    assert.deepEqual(rows, []);
  });
});
