import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Client } from "pg";
import { formerTexts } from "../../src/database/migrate.ts";
import { createPosSchema, posProblems } from "../../src/database/pos.ts";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";
import { createEmptyDatabase, type TestDatabase } from "../support/database.ts";

const log = createLog("silent");

async function withClient<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Everything of ours that Postgres knows: functions, columns, grants, indexes. */
async function fingerprint(url: string): Promise<unknown[]> {
  return withClient(url, async (client) => {
    const { rows } = await client.query(`
      select 'function' as kind, p.oid::regprocedure::text as name, md5(pg_get_functiondef(p.oid)) || p.proacl::text as def
      from pg_proc p where pronamespace in ('nexus_engine'::regnamespace, 'nexus_api'::regnamespace)
      union all
      select 'column', a.attrelid::regclass || '.' || a.attname, format_type(a.atttypid, a.atttypmod) || a.attnotnull || coalesce(c.relacl::text, '')
      from pg_attribute a join pg_class c on c.oid = a.attrelid
      where c.relnamespace in ('nexus_engine'::regnamespace, 'nexus_api'::regnamespace) and a.attnum > 0
      union all
      select 'index', i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
      from pg_index i join pg_class c on c.oid = i.indrelid
      where c.relnamespace in ('nexus_engine'::regnamespace, 'public'::regnamespace)
      order by 1, 2`);
    return rows;
  });
}

describe("preparing a database", () => {
  const databases: TestDatabase[] = [];
  const empty = async () => {
    const db = await createEmptyDatabase();
    databases.push(db);
    return db;
  };
  after(() => Promise.all(databases.map((db) => db.drop())));

  it("works for five processes at once, and a second run changes nothing", async () => {
    const db = await empty();
    await Promise.all(
      Array.from({ length: 5 }, () => prepareDatabase(db.url, log, { createPos: true })),
    );
    const before = await fingerprint(db.url);
    assert.ok(before.length > 100);
    const applied = await db.pool.query(
      "select name, applied_at from nexus_engine.migration order by 1",
    );
    await prepareDatabase(db.url, log);
    assert.deepEqual(await fingerprint(db.url), before);
    const again = await db.pool.query(
      "select name, applied_at from nexus_engine.migration order by 1",
    );
    assert.deepEqual(again.rows, applied.rows);
  });

  it("works for four databases of one cluster at once, which share the roles", async () => {
    const four = await Promise.all([empty(), empty(), empty(), empty()]);
    await Promise.all(four.map((db) => prepareDatabase(db.url, log, { createPos: true })));
    const fingerprints = await Promise.all(four.map((db) => fingerprint(db.url)));
    for (const other of fingerprints) assert.deepEqual(other, fingerprints[0]);
  });

  it("re-applies a function file whose text changed", async () => {
    const db = await empty();
    await prepareDatabase(db.url, log, { createPos: true });
    const before = await fingerprint(db.url);
    await db.pool.query(
      "create or replace function nexus_engine.money(amount double precision) returns numeric language sql as 'select 0::numeric'",
    );
    await db.pool.query(
      "update nexus_engine.migration set sha256 = 'older' where name not like 'migrations/%'",
    );
    assert.notDeepEqual(await fingerprint(db.url), before);
    await prepareDatabase(db.url, log);
    assert.deepEqual(await fingerprint(db.url), before, "an upgraded database equals a fresh one");
  });

  it("leaves alone what a newer release has migrated", async () => {
    const db = await empty();
    await prepareDatabase(db.url, log, { createPos: true });
    await db.pool.query(
      "create or replace function nexus_engine.money(amount double precision) returns numeric language sql as 'select 0::numeric'",
    );
    await db.pool.query(
      "update nexus_engine.migration set sha256 = 'newer' where name = 'engine/sale.sql'",
    );
    await db.pool.query(
      "insert into nexus_engine.migration (name, sha256) values ('migrations/9999_next.sql', 'x')",
    );
    const newer = await fingerprint(db.url);
    await prepareDatabase(db.url, log);
    assert.deepEqual(await fingerprint(db.url), newer);
  });

  it("refuses a migration that was changed after it ran, by name", async () => {
    const db = await empty();
    await prepareDatabase(db.url, log, { createPos: true });
    await db.pool.query(
      "update nexus_engine.migration set sha256 = 'x' where name = 'migrations/0002_tables.sql'",
    );
    await assert.rejects(prepareDatabase(db.url, log), {
      name: "MigrationError",
      message: /migrations\/0002_tables\.sql/,
    });
  });

  it("takes the former text of a migration for the same, where it was changed before the first release", async () => {
    const db = await empty();
    await prepareDatabase(db.url, log, { createPos: true });
    for (const [name, sha256] of formerTexts) {
      const { rowCount } = await db.pool.query(
        "update nexus_engine.migration set sha256 = $2 where name = $1 and sha256 <> $2",
        [name, sha256],
      );
      assert.equal(rowCount, 1, name);
    }
    assert.equal(formerTexts.size, 3);
    await prepareDatabase(db.url, log);
  });

  it("lists every missing table and column, and changes nothing", async () => {
    const db = await empty();
    await withClient(db.url, async (client) => {
      await createPosSchema(client);
      await client.query("drop table public.insights");
      await client.query("alter table public.productos drop column stock_actual");
      await client.query("alter table public.ventas alter column total type text");
    });
    await assert.rejects(prepareDatabase(db.url, log, { createPos: true }), (error: Error) => {
      assert.equal(error.name, "PosSchemaError");
      const lines = error.message
        .split("\n")
        .slice(1)
        .map((line) => line.trim());
      assert.deepEqual(lines, [
        "public.productos.stock_actual: expected a number, found no such column",
        "public.ventas.total: expected a number, got text",
        "public.insights: expected a table of Nexus POS, found none",
      ]);
      return true;
    });
    const { rows } = await db.pool.query("select to_regnamespace('nexus_engine') as schema");
    assert.deepEqual(rows, [{ schema: null }]);
  });

  it("finds nothing wrong with the POS's own tables, and alters none of them", async () => {
    const db = await empty();
    await withClient(db.url, createPosSchema);
    const tables = async () =>
      (
        await db.pool.query(
          `select c.relname, c.relacl is null as untouched, c.relrowsecurity, c.relnatts, c.relchecks, c.relhastriggers
           from pg_class c where relnamespace = 'public'::regnamespace and relkind = 'r' order by 1`,
        )
      ).rows.map(({ untouched, ...rest }) => rest);
    const before = await tables();
    await withClient(db.url, async (client) => assert.deepEqual(await posProblems(client), []));
    await prepareDatabase(db.url, log);
    assert.deepEqual(await tables(), before);
    const { rows } = await db.pool.query(
      "select indexname from pg_indexes where schemaname = 'public' and indexname not like 'ix\\_%' and indexname not like '%\\_pkey'",
    );
    assert.deepEqual(rows, [{ indexname: "nexus_ventas_tienda_fecha" }]);
  });

  it("works for an owner of the POS's tables who is no superuser", async () => {
    const db = await empty();
    await db.pool.query(
      "do $$ begin create role pos_owner login createrole password 'pos'; exception when duplicate_object then null; end $$",
    );
    await db.pool.query(
      "grant nexus_owner, nexus_worker, nexus_server, nexus_tienda, nexus_ops to pos_owner with admin option",
    );
    await db.pool.query(
      `grant create, connect on database "${new URL(db.url).pathname.slice(1)}" to pos_owner`,
    );
    await db.pool.query("alter schema public owner to pos_owner");
    const url = new URL(db.url);
    url.username = "pos_owner";
    url.password = "pos";
    await prepareDatabase(url.toString(), log, { createPos: true });
    await withClient(url.toString(), async (client) => {
      const { rows } = await client.query(
        "select id from graphile_worker.add_job('refresh_stores')",
      );
      assert.equal(rows.length, 1, "the POS's own role can enqueue");
    });
  });
});

describe("least privilege", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createEmptyDatabase();
    await prepareDatabase(db.url, log, { createPos: true });
  });
  after(() => db.drop());

  it("gives the worker no passwords, no change of the POS's data but insights, no schema", async () => {
    const worker = db.poolAs("nexus_worker");
    for (const forbidden of [
      "select hashed_password from public.users",
      "select email from public.users",
      "update public.productos set stock_actual = 1",
      "delete from public.ventas",
      "create table public.x (n int)",
      "create table nexus_engine.x (n int)",
      "update nexus_engine.insight_type set enabled = false",
      "insert into nexus_engine.operator values (gen_random_uuid())",
    ]) {
      await assert.rejects(worker.query(forbidden), { code: "42501" }, forbidden);
    }
    await worker.query("select from public.productos");
  });

  it("gives the API's connections nothing of their own", async () => {
    const server = db.poolAs("nexus_server");
    for (const forbidden of [
      "select from public.productos",
      "select from public.users",
      "select from nexus_engine.open_insight",
      "select from graphile_worker.jobs",
      "select nexus_engine.request_refresh(gen_random_uuid())",
      "select graphile_worker.add_job('purge')",
    ]) {
      await assert.rejects(server.query(forbidden), { code: "42501" }, forbidden);
    }
  });
});
