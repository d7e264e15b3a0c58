import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import type { PoolClient } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { ourRoles, schemas } from "./matrix.ts";

/** Tries what the matrix only lists: every statement on every relation, every function, as every role. */
describe("what Postgres grants is what can be done", () => {
  let db: TestDatabase;
  let client: PoolClient;
  const stranger = `stranger_${randomUUID().slice(0, 8)}`;
  before(async () => {
    db = await createTestDatabase();
    client = await db.pool.connect();
    await client.query(`create role ${stranger} login`);
  });
  after(async () => {
    await client.query(`drop role ${stranger}`);
    client.release();
    await db.drop();
  });

  /** Whether the role may run this statement; what the statement did is undone. */
  async function may(role: string, sql: string): Promise<boolean> {
    await client.query(`begin; set local role ${role}`);
    const denied = await client.query(sql).then(
      () => false,
      // The other two: what nobody can change of a view is refused before rights are looked at.
      (error: { code?: string }) => ["42501", "55000", "0A000"].includes(error.code ?? ""),
    );
    await client.query("rollback");
    return !denied;
  }

  const roles = [...ourRoles, stranger];

  it("for select, insert, update, delete and truncate on every table and view", async () => {
    const { rows: relations } = await client.query(
      `select c.oid, format('%I.%I', n.nspname, c.relname) as name, c.relkind,
         (select quote_ident(a.attname) from pg_attribute a
          where a.attrelid = c.oid and a.attnum > 0 and a.attidentity = '' order by a.attnum limit 1) as "column"
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where c.relkind in ('r', 'v') and n.nspname = any ($1)`,
      [schemas],
    );
    assert.ok(relations.length >= 40, `${relations.length} relations`);
    let tried = 0;
    for (const { oid, name, relkind, column } of relations) {
      const statements = {
        select: `select * from ${name} limit 0`,
        insert: `insert into ${name} (${column}) select ${column} from (select * from ${name}) t limit 0`,
        update: `update ${name} set ${column} = default where false`,
        delete: `delete from ${name} where false`,
        ...(relkind === "r" && { truncate: `truncate ${name} cascade` }),
      };
      for (const role of roles) {
        const { rows } = await client.query(
          `select ${Object.keys(statements)
            .map((kind) => `has_table_privilege($1, $2::oid, '${kind}') as ${kind}`)
            .join(", ")},
             has_schema_privilege($1, (select relnamespace from pg_class where oid = $2::oid), 'usage') as usage`,
          [role, oid],
        );
        const { usage, ...has } = rows[0];
        // An insert that selects needs both; a truncate of what others refer to needs those as well.
        const expected = { ...has, insert: has.insert && has.select };
        for (const [kind, sql] of Object.entries(statements)) {
          if (kind === "truncate" && expected[kind]) continue;
          if (relkind === "v" && kind !== "select" && expected[kind]) continue;
          assert.equal(await may(role, sql), usage && expected[kind], `${role}: ${sql}`);
          tried += 1;
        }
      }
    }
    assert.ok(tried > 1000, `${tried} tried`);
  });

  it("for every function: whoever may not execute it is turned away before it runs", async () => {
    const { rows: functions } = await client.query(
      `select f.oid, f.oid::regproc::text as name, f.oid::regprocedure::text as signature,
         f.pronamespace, array(
           -- Not constants: the call of a strict function would be folded away before rights are looked at.
           select format('(select null::%s)', t::regtype) from unnest(f.proargtypes) t) as arguments,
         f.prorettype = 'trigger'::regtype as is_trigger
       from pg_proc f join pg_namespace n on n.oid = f.pronamespace where n.nspname = any ($1)`,
      [schemas],
    );
    assert.ok(functions.length >= 100, `${functions.length} functions`);
    for (const role of roles) {
      for (const {
        oid,
        name,
        signature,
        pronamespace,
        arguments: given,
        is_trigger,
      } of functions) {
        const { rows } = await client.query(
          "select has_function_privilege($1, $2::oid, 'execute') and has_schema_privilege($1, $3::oid, 'usage') as granted",
          [role, oid, pronamespace],
        );
        if (rows[0].granted || is_trigger) continue;
        assert.equal(
          await may(role, `select ${name}(${given.join(", ")})`),
          false,
          `${role}: ${signature}`,
        );
      }
    }
  });

  it("for making objects: in no schema, by nobody but the owners of ours", async () => {
    for (const role of roles) {
      for (const schema of schemas) {
        const owner =
          (role === "nexus_owner" && schema !== "public") ||
          (role === "nexus_queue" && schema === "graphile_worker");
        for (const sql of [
          `create table ${schema}.made ()`,
          `create function ${schema}.made() returns int language sql as 'select 1'`,
          `create view ${schema}.made as select 1`,
          `create type ${schema}.made as enum ()`,
        ]) {
          assert.equal(await may(role, sql), owner, `${role}: ${sql}`);
        }
      }
      for (const sql of [
        "create schema made",
        "create role made",
        "create trigger made after insert on public.insights for each row execute function pg_catalog.suppress_redundant_updates_trigger()",
        "create policy made on public.productos",
        "alter table public.insights add column made int",
        "grant select on public.users to public",
        "grant nexus_owner to nexus_tienda",
        "copy (select 1) to '/tmp/made'",
        "copy (select 1) to program 'true'",
        "select pg_catalog.pg_read_file('postgresql.conf')",
        "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity where usename <> current_user",
        "set session_replication_role = replica",
      ]) {
        assert.equal(await may(role, sql), false, `${role}: ${sql}`);
      }
    }
  });
});
