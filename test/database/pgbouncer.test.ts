import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createPool, type DatabaseRole } from "../../src/database/pools.ts";
import { createLog } from "../../src/log.ts";
import type { Api } from "../graphql/api.ts";
import { connect } from "../graphql/subscriber.ts";
import { type EngineUnderTest, startEngineUnderTest } from "../outage/engine_under_test.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, addUser, setStock } from "../support/fixtures.ts";
import { type PgBouncer, startPgBouncer, withoutPgBouncer } from "../support/pgbouncer.ts";
import { until } from "../support/until.ts";

const log = createLog("silent");
/** As the README says, and one that may act as nobody. */
const logins = `
  create role nexus_api login password 'api' in role nexus_server;
  create role nexus_jobs login password 'jobs' in role nexus_worker;
  create role nexus_bare login password 'bare'`;
const passwords = { nexus_api: "api", nexus_jobs: "jobs", nexus_bare: "bare" };

describe("through PgBouncer in transaction mode", { skip: withoutPgBouncer }, () => {
  let db: TestDatabase;
  let bouncer: PgBouncer;
  let engine: EngineUnderTest;

  const urlOf: PgBouncer["urlOf"] = (login, parameters) => bouncer.urlOf(login, parameters);
  const poolOf = (connectionString: string, role: DatabaseRole, max = 8) =>
    createPool({ connectionString, log, max, name: "test", role });

  before(async () => {
    db = await createTestDatabase();
    await dropLogins();
    await db.pool.query(logins);
    bouncer = await startPgBouncer(db.url, passwords);
    engine = await startEngineUnderTest(db.url, {
      SERVER_DATABASE_URL: urlOf("nexus_api"),
      WORKER_DATABASE_URL: urlOf("nexus_jobs"),
    });
  });
  after(async () => {
    await engine?.engine.stop();
    await bouncer?.stop();
    await dropLogins();
    await db?.drop();
  });

  async function dropLogins(): Promise<void> {
    await db?.pool.query("drop role if exists nexus_api, nexus_jobs, nexus_bare");
  }

  it("each request sees its own store, whoever had the connection before", async () => {
    const shops = await Promise.all(
      Array.from({ length: 6 }, async (_, n) => {
        const store = await addStore(db.pool, { nombre: `Sucursal ${n}` });
        return { nombre: `Sucursal ${n}`, user: await addUser(db.pool, store) };
      }),
    );
    const answers = await Promise.all(
      Array.from({ length: 120 }, async (_, n) => {
        const { nombre, user } = shops[n % shops.length] as (typeof shops)[0];
        const { data } = await engine.graphql(
          user,
          "{ tienda { nombre } insightStats { active } }",
        );
        return [data?.tienda?.nombre, nombre];
      }),
    );
    for (const [got, expected] of answers) assert.equal(got, expected);
    const { rows } = await db.pool.query(
      "select count(*)::int as servers from pg_stat_activity where datname = current_database() and usename = 'nexus_api'",
    );
    assert.ok(rows[0].servers >= 1 && rows[0].servers <= 2);
  });

  it("alerts are still pushed: announcements are heard on a direct connection", async () => {
    const store = await addStore(db.pool);
    const product = await addProduct(db.pool, store, { stock: 40 });
    const subscriber = await connect({ url: engine.url } as Api, await addUser(db.pool, store));
    const changes = subscriber.subscribe(
      "subscription { insightChanged { refetch changes { kind } } }",
    );
    await changes.next();
    await setStock(db.pool, product, 2);
    assert.deepEqual((await changes.next()).insightChanged.changes, [{ kind: "NEW" }]);
    subscriber.close();
  });

  it("a worker's jobs run, each in one transaction of its own, many at once", async () => {
    const yesterday = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10);
    const stores = await Promise.all(
      Array.from({ length: 12 }, async () => {
        // Its latest day is yesterday's, whatever the time is.
        const store = await addStore(db.pool, {
          settings: { time_zone: "UTC", summary_time: "00:00" },
        });
        await addSale(db.pool, store, { fecha: `${yesterday}T12:00:00Z`, total: 100 });
        return store;
      }),
    );
    await db.pool.query("create table public.seen as select session_user as login where false");
    await db.pool.query(`
      create function public.see() returns trigger language plpgsql security definer as
        'begin insert into public.seen values (session_user); return null; end';
      create trigger see after insert on public.insights for each row execute function public.see()`);
    await db.pool.query(
      `select graphile_worker.add_job('refresh_stores', json_build_object(
         'tiendas', array[s], 'tipos', array['VENTAS_DIARIAS']))
       from unnest($1::uuid[]) s`,
      [stores],
    );
    await until("all are done", async () => {
      const { rows } = await db.pool.query(
        "select count(*)::int as done from nexus_engine.job_run where task = 'refresh_stores' and outcome = 'succeeded' and tiendas <@ $1",
        [stores],
      );
      return rows[0].done === stores.length;
    });
    const { rows } = await db.pool.query(
      "select login, count(*)::int as told from public.seen group by 1",
    );
    assert.deepEqual(rows, [{ login: "nexus_jobs", told: stores.length }]);
  });

  it("a task's transaction keeps its settings to itself, and its time limit", async () => {
    const store = await addStore(db.pool);
    await addProduct(db.pool, store, { stock: 1 });
    const pool = poolOf(urlOf("nexus_jobs"), "nexus_worker");
    const work = async (limit: string, statement: string, values: unknown[] = []) => {
      const client = await pool.connect();
      try {
        await client.query("begin");
        await client.query("select set_config('statement_timeout', $1, true)", [limit]);
        const { rows } = await client.query(statement, values);
        await client.query("commit");
        return rows;
      } catch (error) {
        await client.query("rollback");
        throw error;
      } finally {
        client.release();
      }
    };
    const reconciled = Array.from({ length: 8 }, () =>
      work("9000", "select * from nexus_engine.reconcile(null, $1, now())", [[store]]),
    );
    const late = assert.rejects(work("50", "select pg_sleep(5)"), { code: "57014" });
    await Promise.all([...reconciled, late]);
    const leaked = await Promise.all(
      Array.from({ length: 8 }, () => pool.query("show statement_timeout")),
    );
    assert.deepEqual([...new Set(leaked.map(({ rows }) => rows[0].statement_timeout))], ["0"]);
    await pool.end();
  });

  it("statements have no names, which another connection would not know", async () => {
    const pool = poolOf(urlOf("nexus_api"), "nexus_server");
    const named = { name: "answer", text: "select $1::int as answer", values: [42] };
    for (let round = 0; round < 3; round += 1) {
      const results = await Promise.all(Array.from({ length: 8 }, () => pool.query(named)));
      for (const { rows } of results) assert.equal(rows[0].answer, 42);
    }
    const { rows } = await pool.query("select count(*)::int as names from pg_prepared_statements");
    assert.equal(rows[0].names, 0);
    await pool.end();
  });

  it("nobody acts with other rights than those of the role, silently", async () => {
    for (const [url, refusal] of [
      // May not act as that role.
      [urlOf("nexus_bare"), { code: "42501" }],
      [urlOf("nexus_jobs"), { code: "42501" }],
      // Without saying that PgBouncer is there, which ignores how the session should begin.
      [urlOf("nexus_api", ""), { name: "SessionError", message: /add \?pgbouncer=true/ }],
    ] as const) {
      const pool = poolOf(url, "nexus_server", 1);
      await assert.rejects(pool.query("select 1"), refusal);
      assert.equal(pool.totalCount, 0);
      await pool.end();
    }
  });
});
