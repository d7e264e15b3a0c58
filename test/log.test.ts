import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { runOnce } from "graphile-worker";
import { signToken } from "../src/graphql/token.ts";
import { createLog, graphileLogger } from "../src/log.ts";
import { createLedger } from "../src/worker/ledger.ts";
import { loadTasks } from "../src/worker/tasks.ts";
import { type Api, secretKey, startApi } from "./graphql/api.ts";
import { connect } from "./graphql/subscriber.ts";
import { createTestDatabase, type TestDatabase } from "./support/database.ts";
import { addStore, addUser } from "./support/fixtures.ts";
import { settings } from "./support/jobs.ts";

/** Stands in everything that a client or a shop could want to be kept. */
const mark = "MARCA-7f3a";
const email = `maria.${mark}@tienda.example`;

describe("the log", () => {
  let db: TestDatabase;
  let api: Api;
  let user: string;
  let text = "";
  const log = createLog("trace", {
    write: (line) => {
      text += line;
    },
  });
  const lines = () => text.split("\n").filter(Boolean);

  before(async () => {
    db = await createTestDatabase();
    for (const [name, body] of [
      ["no_uuid", `select ('${mark}' || a)::uuid::text`],
      ["no_json", "select (a::jsonb)::text"],
      ["no_zone", "select (now() at time zone a)::text"],
    ]) {
      await db.pool.query(
        `create function nexus_api.${name}(a text) returns text language sql stable as $$ ${body} $$`,
      );
      await db.pool.query(`grant execute on function nexus_api.${name}(text) to nexus_tienda`);
    }
    await db.pool.query(`
      create table nexus_engine.unico (a text primary key, b int check (b > 0));
      insert into nexus_engine.unico values ('${email}', 1);
      create function nexus_api.doble(a text, b int) returns text language plpgsql volatile security definer
      as $$ begin execute format('insert into nexus_engine.unico values (%L, %s)', a, b); return a; end $$;
      grant execute on function nexus_api.doble(text, int) to nexus_tienda`);
    api = await startApi(db, { log });
    user = await addUser(db.pool, await addStore(db.pool, { nombre: `Tienda ${mark}` }), { email });
  });
  after(async () => {
    await api.close();
    await db.drop();
  });

  it("has the failures of requests, by their ids, and none of the values that they were about", async () => {
    const ids: string[] = [];
    for (const query of [
      `{ noUuid(a: "${email}") }`,
      `{ noJson(a: "{${mark} ${email}") }`,
      `{ noZone(a: "${mark}") }`,
      `mutation { doble(input: {a: "${email}", b: 1}) { result } }`,
      `mutation { doble(input: {a: "otra ${mark}", b: -1}) { result } }`,
    ]) {
      const answer = await api.ask(user, query);
      assert.equal(answer.code, "INTERNAL", query);
      assert.doesNotMatch(JSON.stringify(answer.errors), new RegExp(mark), query);
      ids.push(answer.errors[0]?.extensions?.requestId ?? "");
    }
    for (const [n, code] of ["22P02", "22P02", "22023", "23505", "23514"].entries()) {
      const line = lines().find((line) => line.includes(ids[n] ?? "none"));
      assert.equal(JSON.parse(line ?? "{}").err?.code, code);
    }
    assert.match(text, /"where":"(PL\/pgSQL|SQL) function/, "where it happened is kept");
    assert.ok(!text.includes(mark));
  });

  it("has no token, whatever is done with it", async () => {
    const good = await signToken(user, secretKey, 60);
    const tokens = [good, await signToken(user, secretKey, -60), `${good.slice(0, -4)}AAAA`];
    for (const token of tokens) {
      await api.post(`{"query": "{ tienda { id } }", "variables": {"t": "${token}"}}`, {
        authorization: `Bearer ${token}`,
        "x-request-id": token.slice(0, 64),
      });
      await api.post(`{"query": "{ ${token} }"}`, { authorization: `Bearer ${good}` });
      const subscriber = await connect(api, {
        params: { authorization: `Bearer ${token}`, email },
      });
      subscriber.subscribe(`subscription { insightChanged { ${mark} } }`);
      await Promise.race([subscriber.closed, sleep(100)]);
      subscriber.close();
    }
    // What a library might put into an error.
    log.error({ err: new Error(`refused ${good} of ${email}`), headers: { authorization: good } });
    log.warn({ err: new Error("connect postgres://dueña:cl4ve%40@db.example:5432/pos") }, "lost");
    log.info(`${email} signed in at https://u:${mark}@db.example/ with Bearer ${good}`);
    for (const token of tokens) assert.ok(!text.includes(token.slice(10, 40)), "a token");
    assert.ok(!text.includes("cl4ve"), "a password");
    assert.ok(!text.includes(mark));
    assert.match(text, /\[token\].*\[e-mail\]/);
    assert.match(text, /postgres:\/\/\[login\]@db\.example:5432\/pos/);
    for (const line of lines()) JSON.parse(line);
  });

  it("has no personal data of payloads", async () => {
    await db.pool.query("select graphile_worker.add_job('refresh_stores', $1)", [
      JSON.stringify({ tiendas: [email], contacto: email }),
    ]);
    const pool = db.poolAs("nexus_worker");
    const ledger = createLedger(pool, log);
    await runOnce({
      pgPool: pool,
      taskList: await loadTasks({ settings, log, ledger, pool, running: new Map() }),
      logger: graphileLogger(log),
      noHandleSignals: true,
      preset: { worker: { completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
    });
    assert.match(text, /payload\.tiendas\.0: .* got /);
    assert.ok(!text.includes(mark));
  });
});
