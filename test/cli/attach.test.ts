import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { Pool } from "pg";
import { pino } from "pino";
import { connect } from "../../src/database/client.ts";
import { type Plan, planText, readPlan } from "../../src/database/plan/plan.ts";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { asScript, type Logins, lackingRights } from "../../src/database/rights.ts";
import { createLog } from "../../src/log.ts";
import { sentenceFor } from "../../src/process.ts";
import { startEngineUnderTest } from "../outage/engine_under_test.ts";
import { addProduct, addStore, addUser } from "../support/fixtures.ts";
import { RoleServer } from "../support/role_server.ts";
import { until } from "../support/until.ts";

const log = createLog("silent");
const cli = join(import.meta.dirname, "../../src/cli/attach.ts");

describe("attaching", () => {
  let server: RoleServer;
  let version: number;
  const databases = ["pos_uno", "pos_dos"];
  const roles = ["uno", "dos", "reader", "supa", "anon", "authenticated", "service_role"];

  before(async () => {
    server = await RoleServer.start();
    await server.clear(databases, roles);
    const [row] = await server.sql(
      "postgres",
      "select current_setting('server_version_num')::int / 10000 as version",
    );
    version = row.version;
  });
  afterEach(() => server.clear(databases, roles));
  after(() => server.destroy());

  async function run(
    database: string,
    login: string | undefined,
    args: string[],
    env: Record<string, string> = {},
  ) {
    const child = spawn(process.execPath, [cli, ...args], {
      timeout: 60_000,
      env: { PATH: process.env.PATH, DATABASE_URL: server.url(database, login), ...env },
    });
    const chunks: string[] = [];
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk) => chunks.push(String(chunk)));
    const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
    return { code, text: chunks.join("") };
  }

  const readAs = async (
    database: string,
    login: string | undefined,
    logins: Partial<Logins> = {},
  ): Promise<Plan> => {
    const client = await connect(server.url(database, login), "test");
    try {
      return await readPlan(client, {
        migration: client.user ?? "",
        migrationServes: false,
        ...logins,
      });
    } finally {
      await client.end();
    }
  };

  const scriptFor = async (database: string, logins: Logins): Promise<string> => {
    const client = await connect(server.url(database), "test");
    try {
      return asScript(await lackingRights(client, logins));
    } finally {
      await client.end();
    }
  };

  const attach = (database: string, login: string) =>
    prepareDatabase(server.url(database, login), log, { patienceMs: 0 });

  /** Whether a sale of this database leaves its trace with us. */
  async function tracesSales(database: string, owner: string): Promise<boolean> {
    const pool = new Pool({ connectionString: server.url(database, owner), max: 1 });
    try {
      const product = await addProduct(pool, await addStore(pool), { stock: 50 });
      await pool.query("update public.productos set stock_actual = 1 where id = $1", [product]);
      const [row] = await server.sql(
        database,
        `select count(*)::int as n from nexus_engine.stock_event where producto_id = '${product}'`,
      );
      return row.n > 0;
    } finally {
      await pool.end();
    }
  }

  it("puts two databases of one cluster on, whose owners are two, with what a superuser has to grant", async () => {
    await server.sql(
      "postgres",
      "create role uno login createrole password 'uno'; create role dos login createrole password 'dos'",
    );
    await server.createPos("pos_uno", "uno");
    await server.createPos("pos_dos", "dos");
    assert.equal(await attach("pos_uno", "uno"), true);
    if (version >= 16) {
      const failed = await attach("pos_dos", "dos").then(
        () => assert.fail("it did not fail"),
        sentenceFor,
      );
      assert.match(failed, /^At the step "rights": The login "dos" of DATABASE_URL lacks rights/);
      const script = failed.slice(failed.indexOf("-- as"));
      assert.equal(
        script.trim(),
        `-- as a superuser, or as uno, which may grant the roles:
grant nexus_owner to dos with inherit true, set true;`,
      );
      assert.deepEqual(
        await server.sql("pos_dos", "select from pg_namespace where nspname like 'nexus%'"),
        [],
      );
      // The first owner is enough: it has made the roles.
      await server.sql("pos_dos", script, "uno");
    }
    assert.equal(await attach("pos_dos", "dos"), true);
    for (const [database, owner] of [
      ["pos_uno", "uno"],
      ["pos_dos", "dos"],
    ] as const) {
      assert.ok(await tracesSales(database, owner), database);
      const plan = await readAs(database, owner);
      assert.equal(plan.attached, "yes", planText(plan));
      assert.match(
        planText(plan).replaceAll(/\s+/g, " "),
        /\* Another database of this cluster is attached too.* revoke connect on database pos_dos from public; revoke connect on database pos_uno from public;/,
      );
    }
    await server.sql("postgres", "revoke connect on database pos_dos, pos_uno from public");
    assert.match(planText(await readAs("pos_uno", "uno")), /Only who was granted CONNECT/);
  });

  it("works with logins that own nothing, by the printed grants alone", async () => {
    await server.sql(
      "postgres",
      "create role uno login password 'uno'; create role reader login password 'reader'",
    );
    await server.createPos("pos_uno", "uno");
    // As hardened as can be: nothing by way of everybody.
    await server.sql(
      "pos_uno",
      `revoke all on schema public from public; revoke all on database pos_uno from public;
       grant connect on database pos_uno to reader; grant usage on schema public to reader`,
    );
    const before = await server.sql("pos_uno", everything);

    const check = await run("pos_uno", "reader", ["--check", "--login", "nexus_migration"]);
    assert.equal(check.code, 1, check.text);
    assert.match(check.text, /RESULT: not yet/);
    assert.match(
      check.text,
      /\? Could not look at products: this login lacks SELECT on public\.productos, public\.tiendas/,
    );
    // Who could not attach by anything is not planned for, unless he is named.
    const forOwner = await run("pos_uno", "reader", ["--check"]);
    assert.match(
      forOwner.text,
      /, as the login uno\.\n.*\nThe login reader does not own the POS's tables and has no rights of ours: planned for\s+their owner, uno\.\s+--login NAME/,
    );
    assert.doesNotMatch(forOwner.text, / to reader\b/);
    const grants = await run("pos_uno", "reader", ["--grants"]);
    assert.equal(grants.code, 0, grants.text);
    assert.deepEqual(await server.sql("pos_uno", everything), before, "looking changes nothing");
    const [script = "", last = ""] = grants.text.split("-- Last and by itself");
    await server.sql("pos_uno", script);
    const logins = { migration: "nexus_migration", worker: "nexus_jobs", server: "nexus_api" };
    for (const login of Object.values(logins)) {
      await server.sql("postgres", `alter role ${login} password '${login}'`);
    }
    const urls = {
      WORKER_DATABASE_URL: server.url("pos_uno", logins.worker),
      SERVER_DATABASE_URL: server.url("pos_uno", logins.server),
    };

    // By its own login alone: it is not asked for what only the API needs.
    const attached = await run("pos_uno", logins.migration, []);
    assert.equal(attached.code, 0, attached.text);
    const steps = attached.text
      .trim()
      .split("\n")
      .map((line) => line.split(":", 1)[0]);
    for (const step of ["server", "rights", "roles", "schemas", "queue", "triggers", "attached"]) {
      assert.ok(steps.includes(step), attached.text);
    }
    const lines: string[] = [];
    const told = pino({ level: "info" }, { write: (line) => void lines.push(line) });
    await prepareDatabase(server.url("pos_uno", logins.migration), told);
    assert.equal(lines.join("").split("create index concurrently").length, 2, lines.join(""));
    await server.sql("pos_uno", last.replace(/^.*\n/, ""), "uno");
    const again = await run("pos_uno", logins.migration, ["--check"], urls);
    assert.equal(again.code, 0, again.text);
    assert.match(
      again.text,
      /Logins of the halves: the worker as nexus_jobs, the API as nexus_api\./,
    );
    assert.match(again.text, / Index nexus_ventas_tienda_fecha: there/);
    assert.match(again.text, /\nRESULT: attached, of this release; nothing to do\.$/m);
    assert.match(
      (await run("pos_uno", "reader", ["--check"])).text,
      /, as the login nexus_migration\.\n[\s\S]*\nRESULT: attached; this login cannot see whether of this release/,
    );

    // An API by the login that attaches needs more than attaching did; its start says so.
    const startAlone = startEngineUnderTest(server.url("pos_uno", logins.migration));
    await assert.rejects(
      startAlone,
      /Have this run.*\n\n[^;]*\ngrant nexus_server to nexus_migration/,
    );
    const { engine, graphql } = await startEngineUnderTest(
      server.url("pos_uno", logins.migration),
      urls,
    );
    const pos = new Pool({ connectionString: server.url("pos_uno", "uno"), max: 1 });
    try {
      const store = await addStore(pos);
      const user = await addUser(pos, store);
      const product = await addProduct(pos, store, { stock: 50 });
      await pos.query("update public.productos set stock_actual = 2 where id = $1", [product]);
      await until("the alert is there", async () => {
        const { data } = await graphql(
          user,
          "{ insights(first: 5) { nodes { tipo producto { id } } } }",
        );
        return data?.insights.nodes[0]?.producto.id === product;
      });
    } finally {
      await pos.end();
      await engine.stop();
    }
    // What the list gives is what an owner's start gives, no more and no less.
    await server.createPos("pos_dos", "uno");
    await prepareDatabase(server.url("pos_dos"), log);
    assert.deepEqual(
      await server.sql("pos_uno", ourPosRights),
      await server.sql("pos_dos", ourPosRights),
    );
  });

  it("says before it changes anything how to pass row level security, as on Supabase, and shows its roles nothing", async () => {
    const bypass = version >= 16 ? "bypassrls" : "";
    await server.sql(
      "postgres",
      `
      create role supa login createrole createdb ${bypass} password 'supa';
      create role anon nologin; create role authenticated nologin; create role service_role nologin bypassrls`,
    );
    await server.createPos("pos_uno", "supa");
    await server.sql(
      "pos_uno",
      `
      grant usage on schema public to anon, authenticated, service_role;
      alter default privileges for role supa grant all on tables to anon, authenticated, service_role;
      alter default privileges for role supa grant all on functions to anon, authenticated, service_role;
      alter default privileges for role supa grant all on sequences to anon, authenticated, service_role;
      grant all on all tables in schema public to anon, authenticated, service_role`,
    );
    for (const table of ["tiendas", "users", "productos", "ventas", "detalles_venta", "insights"]) {
      await server.sql(
        "pos_uno",
        `
        alter table public.${table} enable row level security;
        create policy suyo on public.${table} to authenticated using (true)`,
      );
    }
    const refused = await run("pos_uno", "supa", []);
    assert.equal(refused.code, 1, refused.text);
    assert.match(
      refused.text,
      /^The login supa lacks rights\. Have this run, .*\n[^!]*\n-- unasked, as they then see the rows of all stores/,
    );
    assert.equal(
      version >= 16,
      /The login supa may run this part itself/.test(refused.text),
      refused.text,
    );
    assert.match(refused.text, /\nThe whole plan: npm run attach -- --check\n$/);
    assert.doesNotMatch(refused.text, /RESULT|ROW LEVEL SECURITY/);
    assert.deepEqual(
      await server.sql("pos_uno", "select from pg_namespace where nspname like 'nexus%'"),
      [],
    );
    assert.deepEqual(
      await server.sql("pos_uno", "select from pg_roles where rolname like 'nexus%'"),
      [],
    );

    const script = await scriptFor("pos_uno", { migration: "supa", migrationServes: false });
    assert.match(
      script,
      /create role nexus_owner nologin inherit bypassrls;\ncreate role nexus_worker nologin noinherit bypassrls;/,
    );
    // Supabase's own login may do that; before PostgreSQL 16 by an extension of the service.
    await server.sql("pos_uno", script, version >= 16 ? "supa" : undefined);
    const attached = await run("pos_uno", "supa", []);
    assert.equal(attached.code, 0, attached.text);
    assert.ok(await tracesSales("pos_uno", "supa"));
    const seen = await server.sql("pos_uno", seenBy, undefined);
    assert.deepEqual(seen, []);
    const plan = await readAs("pos_uno", "supa");
    assert.ok(plan.ready, planText(plan));

    // Switched on for the owner as well, and the right taken away: an update says so and changes nothing.
    await server.sql(
      "pos_uno",
      "alter table public.ventas force row level security; alter role nexus_worker nobypassrls",
    );
    const later = await readAs("pos_uno", "supa");
    assert.equal(later.ready, false);
    assert.match(
      planText(later),
      /! The login supa lacks rights[\s\S]*alter role nexus_worker bypassrls;[\s\S]*RESULT: not yet\. One thing has/,
    );
  });
});

/** Schemas, roles, relations with their privileges, functions, triggers. */
const everything = `
  select 'schema' as kind, nspname::text as name, nspacl::text as acl from pg_namespace where nspname !~ '^pg_'
  union all select 'role', rolname, null from pg_roles
  union all select 'relation', c.oid::regclass::text, c.relacl::text from pg_class c where c.relnamespace = 'public'::regnamespace
  union all select 'trigger', t.tgname, null from pg_trigger t where not t.tgisinternal
  order by 1, 2`;

/** What our roles may do with the POS's tables. */
const ourPosRights = `
  select g.grantee, g.table_name, g.column_name, g.privilege_type from information_schema.column_privileges g
  where g.table_schema = 'public' and g.grantee in ('nexus_owner', 'nexus_worker', 'nexus_server', 'nexus_tienda', 'nexus_ops', 'nexus_queue')
  union all
  select g.grantee, g.table_name, '', g.privilege_type from information_schema.table_privileges g
  where g.table_schema = 'public' and g.grantee in ('nexus_owner', 'nexus_worker', 'nexus_server', 'nexus_tienda', 'nexus_ops', 'nexus_queue')
  order by 1, 2, 3, 4`;

/** What of ours Supabase's roles could use, even if a schema were opened to them. */
const seenBy = `
  select r.name, x.what from unnest(array['anon', 'authenticated', 'service_role']) r (name)
  cross join lateral (
    select 'schema ' || n.nspname as what from pg_namespace n
    where n.nspname in ('nexus_engine', 'nexus_api', 'graphile_worker') and has_schema_privilege(r.name, n.oid, 'usage, create')
    union all
    select 'relation ' || c.oid::regclass from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('nexus_engine', 'nexus_api', 'graphile_worker') and c.relkind in ('r', 'v', 'p')
      and has_table_privilege(r.name, c.oid, 'select, insert, update, delete, truncate, references, trigger')
    union all
    select 'sequence ' || c.oid::regclass from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('nexus_engine', 'nexus_api', 'graphile_worker') and c.relkind = 'S' and has_sequence_privilege(r.name, c.oid, 'usage, select, update')
    union all
    select 'function ' || f.oid::regprocedure from pg_proc f join pg_namespace n on n.oid = f.pronamespace
    where (n.nspname in ('nexus_engine', 'nexus_api', 'graphile_worker') or f.proname like 'nexus%') and has_function_privilege(r.name, f.oid, 'execute')
  ) x`;
