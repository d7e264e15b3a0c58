import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Pool } from "pg";
import { createPool, type DatabaseRole } from "../../src/database/pools.ts";
import { createLog } from "../../src/log.ts";
import type { Api } from "../graphql/api.ts";
import { connect } from "../graphql/subscriber.ts";
import { startEngineUnderTest } from "../outage/engine_under_test.ts";
import { createTestDatabase, serverUrl, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, addUser, setStock } from "../support/fixtures.ts";
import { type PgBouncer, startPgBouncer, withoutPgBouncer } from "../support/pgbouncer.ts";
import { until } from "../support/until.ts";

/** What a database or a login may bring along, and what of it would harm us. */
const hostile: Record<string, string> = {
  default_transaction_isolation: "repeatable read",
  default_transaction_read_only: "on",
  default_transaction_deferrable: "on",
  // These two also hold for what sets ours: behind PgBouncer, and before the version is known.
  statement_timeout: "500ms",
  transaction_timeout: "2s",
  lock_timeout: "1ms",
  idle_in_transaction_session_timeout: "1ms",
  idle_session_timeout: "50ms",
  DateStyle: "SQL, DMY",
  IntervalStyle: "sql_standard",
  TimeZone: "Asia/Kathmandu",
  search_path: "trap, public",
  bytea_output: "escape",
  extra_float_digits: "-15",
  row_security: "on",
  standard_conforming_strings: "off",
  client_min_messages: "error",
  transform_null_equals: "on",
  array_nulls: "off",
  quote_all_identifiers: "on",
  "plpgsql.extra_errors": "all",
  exit_on_error: "on",
  jit: "on",
};
const log = createLog("silent");
const passwords = { nexus_api_2: "api", nexus_jobs_2: "jobs" };

/** With SESSION_MATRIX=each the whole core runs with each setting alone, as well as with all. */
const each = process.env.SESSION_MATRIX === "each" ? Object.keys(hostile) : [];

describe("what a database or a login brings along", () => {
  let db: TestDatabase;
  /** The POS's, and the operator's: with sessions that nothing has been brought to. */
  let outside: Pool;
  let known: string[];

  const database = () => new URL(db.url).pathname.slice(1);
  const logins = () => [decodeURIComponent(new URL(db.url).username), ...Object.keys(passwords)];
  const alter = async (statement: (name: string) => string, names = known) => {
    for (const login of logins()) {
      for (const name of names) {
        await outside.query(`alter role ${login} in database ${database()} ${statement(name)}`);
      }
    }
  };
  const bring = (names: string[]) => alter((name) => `set ${name} = ${literal(name)}`, names);
  const takeBack = () => alter((name) => `reset ${name}`);

  before(async () => {
    db = await createTestDatabase();
    // What the startup packet says is stronger than what is brought along.
    outside = new Pool({
      connectionString: db.url,
      options:
        "-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 -c default_transaction_read_only=off -c search_path=public -c standard_conforming_strings=on -c exit_on_error=off -c default_transaction_isolation=read\\ committed",
      max: 2,
    });
    outside.on("error", () => {});
    const { rows } = await outside.query<{ number: number }>(
      "select current_setting('server_version_num')::int as number",
    );
    const isOld = (rows[0]?.number ?? 0) < 170_000;
    known = Object.keys(hostile).filter((name) => !(isOld && name === "transaction_timeout"));
    await outside.query(`
      drop role if exists nexus_api_2, nexus_jobs_2;
      create role nexus_api_2 login password 'api' in role nexus_server;
      create role nexus_jobs_2 login password 'jobs' in role nexus_worker;
      create schema trap;
      create function trap.now() returns timestamptz language sql as 'select null::timestamptz'`);
  });
  after(async () => {
    await outside?.end();
    await db?.drop();
    const server = new Pool({ connectionString: serverUrl(), max: 1 });
    await server.query("drop role if exists nexus_api_2, nexus_jobs_2");
    await server.end();
  });

  it("changes no setting of ours, each alone", async () => {
    const clean = await settingsOf(db.url, known);
    for (const name of known) {
      await bring([name]);
      assert.deepEqual(await settingsOf(db.url, [name]), { [name]: clean[name] });
      assert.deepEqual(await settingsOf(db.url, [name], "nexus_worker"), { [name]: clean[name] });
      await alter((one) => `reset ${one}`, [name]);
    }
  });

  it("adds ours to what the URL asks for, and ours win", async () => {
    const url = `${db.url}?options=-c%20work_mem%3D5MB%20-c%20role%3Dnexus_server%20-c%20jit%3Don&statement_timeout=1`;
    assert.deepEqual(
      await settingsOf(url, ["work_mem", "role", "jit", "statement_timeout"], "nexus_worker"),
      { work_mem: "5MB", role: "nexus_worker", jit: "off", statement_timeout: "0" },
    );
  });

  it("changes none through PgBouncer", { skip: withoutPgBouncer }, async () => {
    const bouncer = await startPgBouncer(db.url, passwords);
    const brought = known.filter((name) => !name.startsWith("default_transaction_"));
    try {
      const clean = await settingsOf(bouncer.urlOf("nexus_api_2"), brought, "nexus_server");
      await bring(known.filter((name) => name !== "idle_session_timeout"));
      assert.deepEqual(
        await settingsOf(bouncer.urlOf("nexus_jobs_2"), brought, "nexus_worker"),
        clean,
      );
    } finally {
      await takeBack();
      await bouncer.stop();
    }
  });

  for (const names of [["all"], ...each.map((name) => [name])]) {
    const what = names[0] as string;
    const brought = () => (what === "all" ? known : known.filter((name) => name === what));

    it(`lets the engine do its work, ${what}`, async () => {
      await bring(brought());
      try {
        await works({});
      } finally {
        await takeBack();
      }
    });

    it(`lets it do so through PgBouncer, ${what}`, { skip: withoutPgBouncer }, async () => {
      // Its idle sessions are PgBouncer's own, which hands out one that is just being ended.
      await bring(brought().filter((name) => name !== "idle_session_timeout"));
      let bouncer: PgBouncer | undefined;
      try {
        bouncer = await startPgBouncer(db.url, passwords);
        await works({
          SERVER_DATABASE_URL: bouncer.urlOf("nexus_api_2"),
          WORKER_DATABASE_URL: bouncer.urlOf("nexus_jobs_2"),
        });
      } finally {
        await bouncer?.stop();
        await takeBack();
      }
    });
  }

  it("lets no policy hide rows from the worker", async () => {
    await outside.query(`
      alter table public.productos enable row level security;
      create policy everybody on public.productos using (true)`);
    const worker = createPool({
      connectionString: db.url,
      log,
      max: 1,
      name: "test",
      role: "nexus_worker",
    });
    try {
      await assert.rejects(worker.query("select from public.productos"), { code: "42501" });
    } finally {
      await worker.end();
      await outside.query("drop policy everybody on public.productos");
      await outside.query("alter table public.productos disable row level security");
    }
  });

  async function settingsOf(
    connectionString: string,
    names: string[],
    role?: DatabaseRole,
  ): Promise<Record<string, string>> {
    const pool = createPool({ connectionString, log, max: 1, name: "test", ...(role && { role }) });
    try {
      const { rows } = await pool.query<{ name: string; setting: string }>(
        "select name, current_setting(name, true) as setting from unnest($1::text[]) name",
        [names],
      );
      return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
    } finally {
      await pool.end();
    }
  }

  /** The core of what the worker and the API do, from the start to the answer. */
  async function works(environment: Record<string, string>): Promise<void> {
    const store = await addStore(outside, { nombre: "Almacén" });
    const user = await addUser(outside, store);
    const product = await addProduct(outside, store, { stock: 40, precioVenta: 1234.56 });
    await addSale(outside, store, { fecha: new Date(Date.now() - 60_000), total: 1234.56 });
    const { engine, url, graphql } = await startEngineUnderTest(db.url, environment);
    try {
      const subscriber = await connect({ url } as Api, user);
      const changes = subscriber.subscribe(
        "subscription { insightChanged { refetch changes { kind insight { tipo } } } }",
      );
      await changes.next();
      const listening = await listeners();
      // Longer than what is idle may be.
      await sleep(120);
      await setStock(outside, product, 2);
      const { insightChanged } = await changes.next();
      assert.deepEqual(insightChanged.changes, [{ kind: "NEW", insight: { tipo: "STOCK_BAJO" } }]);
      assert.deepEqual(await listeners(), listening);
      subscriber.close();

      const asked = await graphql(
        user,
        "mutation { refreshInsights(input: {}) { refreshRequest { id } } }",
      );
      const { id } = asked.data.refreshInsights.refreshRequest;
      await until("the refresh has ended", async () => {
        const { data } = await graphql(user, `{ refreshRequest(id: "${id}") { status } }`);
        return data.refreshRequest.status === "SUCCEEDED";
      });

      const { data, code } = await graphql(
        user,
        `{ productos { nodes { precioVenta stockActual } } salesSummary { today { total } yesterday { total } }
           insights { nodes { createdAt mensaje } } storeSettings { summaryTime timeZone } }`,
      );
      assert.equal(code, "ok");
      const [insight] = data.insights.nodes;
      assert.deepEqual(data.productos.nodes, [{ precioVenta: 1234.56, stockActual: 2 }]);
      // It may have been midnight since.
      const { today, yesterday } = data.salesSummary;
      assert.equal(today.total + yesterday.total, 1234.56);
      assert.match(insight.createdAt, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d/);
      assert.ok(Math.abs(Date.now() - Date.parse(insight.createdAt)) < 120_000);
      assert.match(insight.mensaje, /Te quedan 2 unidades/);
      assert.match(data.storeSettings.summaryTime, /^\d\d:\d\d/);

      const response = await fetch(`${url}/health/ready`);
      assert.deepEqual(await response.json(), { status: "ok" });
      const { rows } = await outside.query(
        "select task, outcome, error_code from nexus_engine.job_run where outcome <> 'succeeded'",
      );
      assert.deepEqual(rows, []);
    } finally {
      await engine.stop();
      await outside.query("delete from public.insights");
    }
  }

  /** The sessions that listen: none of them may be lost. */
  async function listeners(): Promise<number[]> {
    const { rows } = await outside.query<{ pid: number }>(
      `select pid from pg_stat_activity where datname = current_database()
       and application_name = 'nexus-server-listen' order by pid`,
    );
    return rows.map(({ pid }) => pid);
  }
});

function literal(name: string): string {
  const value = hostile[name] as string;
  return name === "search_path" || name === "DateStyle" ? value : `'${value}'`;
}
