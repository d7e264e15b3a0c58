import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore, addUser } from "../support/fixtures.ts";
import { connectAs } from "./login.ts";
import { addLogins, type Logins } from "./logins.ts";
import { ourRoles, privilegeMatrix } from "./matrix.ts";

/** Statements with which a login of ours would become more than it is, tried as each role that it can take. */
const attacks = (own: string, other: string) => [
  "select hashed_password from public.users",
  "select email from public.users",
  "insert into public.ventas (id) select gen_random_uuid()",
  "update public.ventas set total = 0",
  "delete from public.detalles_venta",
  "update public.productos set stock_actual = 0",
  "do $$ begin lock table public.ventas in share mode; end $$",
  "create trigger t after insert on public.insights for each row execute function pg_catalog.suppress_redundant_updates_trigger()",
  "create trigger t before insert on graphile_worker._private_jobs for each row execute function pg_catalog.suppress_redundant_updates_trigger()",
  "create rule r as on insert to graphile_worker._private_jobs do instead nothing",
  "create policy p on graphile_worker._private_jobs",
  "create index on graphile_worker._private_jobs ((pg_temp.f()))",
  "alter table graphile_worker._private_jobs alter column payload set default pg_temp.f()::text::json",
  "alter table graphile_worker._private_jobs add check (pg_temp.f() > 0)",
  "alter table graphile_worker._private_jobs owner to current_user",
  "insert into graphile_worker._private_jobs (task_id) values (1)",
  "insert into graphile_worker.migrations (id, breaking) values (9999, true)",
  "create or replace view graphile_worker.jobs as select 1",
  "create or replace function graphile_worker.force_unlock_workers(worker_ids text[]) returns void language sql as ''",
  "alter function graphile_worker.add_jobs(graphile_worker.job_spec[], boolean) security invoker",
  "alter function graphile_worker.add_jobs(graphile_worker.job_spec[], boolean) reset search_path",
  "alter type graphile_worker.job_spec add attribute evil int",
  "create cast (json as bytea) with function pg_temp.f(json) as implicit",
  "create function graphile_worker.made() returns int language sql as 'select 1'",
  "create function nexus_engine.made() returns int language sql as 'select 1'",
  "create function nexus_api.made() returns int language sql as 'select 1'",
  "create operator nexus_engine.= (function = pg_catalog.int4eq, leftarg = int, rightarg = int)",
  "create or replace function nexus_engine.on_stock_change() returns trigger language plpgsql as 'begin return null; end'",
  "alter function nexus_engine.on_stock_change() security invoker",
  "alter view nexus_api.insights set (security_barrier = false)",
  "alter schema graphile_worker rename to taken",
  "drop schema graphile_worker cascade",
  "select nexus_engine.make_triggers('public.ventas')",
  "select nexus_engine.attach()",
  "select nexus_engine.detach()",
  "select nexus_engine.set_rights()",
  "select graphile_worker.force_unlock_workers('{}')",
  "alter default privileges for role nexus_owner grant execute on functions to public",
  "alter default privileges for role nexus_queue grant execute on functions to public",
  "reassign owned by nexus_owner to current_user",
  "drop owned by nexus_queue",
  `grant ${other} to "${own}"`,
  `grant nexus_owner to "${own}"`,
  `alter role "${other}" set search_path = public`,
  "alter role nexus_owner set search_path = public",
  "alter role nexus_owner login password 'x'",
  "alter role all set session_preload_libraries = 'x'",
  "alter database postgres set search_path = public",
  "alter system set search_path = 'public'",
  "create event trigger e on ddl_command_start execute function pg_catalog.event_trigger_made()",
  "create extension dblink",
  "create role made",
  "create schema made",
  "create publication made for all tables",
  "set session_replication_role = replica",
  "select pg_catalog.lo_import('/etc/passwd')",
  "select pg_catalog.pg_read_file('postgresql.conf')",
  "copy (select 1) to program 'true'",
  "select * from pg_catalog.pg_authid",
  "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity where usename = 'postgres'",
  "select pg_catalog.set_config('role', 'nexus_owner', false)",
];

describe("whoever has a login of ours", () => {
  let db: TestDatabase;
  let logins: Logins;
  before(async () => {
    db = await createTestDatabase();
    logins = await addLogins(db);
    await addUser(db.pool, await addStore(db.pool));
  });
  after(async () => {
    await logins?.drop();
    await db.drop();
  });

  const reach = () => ({
    [logins.jobs]: ["nexus_worker"],
    [logins.api]: ["nexus_server", "nexus_tienda", "nexus_ops"],
  });

  /** What any of it would change: who may do what, and everything that runs by itself. */
  async function state(): Promise<string[]> {
    const { rows } = await db.pool.query<{ line: string }>(
      `select format('%s %s %s', f.oid::regprocedure, f.proowner::regrole, md5(pg_get_functiondef(f.oid))) as line from pg_proc f
       where f.pronamespace::regnamespace::text in ('nexus_engine', 'nexus_api', 'graphile_worker')
       union all select format('%s %s', c.oid::regclass, c.relowner::regrole) from pg_class c
         where c.relnamespace::regnamespace::text in ('nexus_engine', 'nexus_api', 'graphile_worker')
       union all select pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = t.tgrelid
         where c.relpersistence <> 't'
       union all select pg_get_ruledef(r.oid) from pg_rewrite r where r.ev_class::regclass::text ~ '^(nexus|graphile)'
       union all select pg_get_expr(d.adbin, d.adrelid) from pg_attrdef d
       union all select format('%s %s %s', d.defaclobjtype, d.defaclrole::regrole, d.defaclacl) from pg_default_acl d
       order by 1`,
    );
    return [...rows.map(({ line }) => line), ...(await privilegeMatrix(db.pool, logins.pos))];
  }

  it("gets no password by the ways that there were, when the POS enqueues and sells", async () => {
    const producto = await addProduct(db.pool, await addStore(db.pool), { stock: 50 });
    await db.pool.query("create table public.loot (who text, password text)");
    await db.pool.query("grant insert on public.loot to public");
    const take = "insert into public.loot select current_user, hashed_password from public.users";
    const jobs = await connectAs(db, logins.jobs);
    for (const step of [
      // A trigger in the queue, whose function runs as whoever enqueues.
      "set role nexus_worker",
      `create function graphile_worker.take() returns trigger language plpgsql as $$ begin ${take}; return null; end $$`,
      "grant execute on function graphile_worker.take() to public",
      "create trigger take after insert on graphile_worker._private_jobs execute function graphile_worker.take()",
      // A function of our triggers on a table of one's own: a cast of one's own runs as nexus_owner, which replaces
      // the function that every sale calls.
      `create type pg_temp.evil as (id uuid);
       create function pg_temp.cast(pg_temp.evil) returns uuid language plpgsql as $$ begin
         create or replace function nexus_engine.on_stock_change() returns trigger language plpgsql as
           $f$ begin ${take}; return null; end $f$;
         return $1.id; end $$;
       create cast (pg_temp.evil as uuid) with function pg_temp.cast(pg_temp.evil) as implicit;
       create temp table own (id uuid, tienda_id pg_temp.evil, stock_actual float8, is_active boolean)`,
      "create trigger take after insert on own for each row execute function nexus_engine.on_stock_change()",
      "insert into own values (gen_random_uuid(), row(gen_random_uuid()), 1, true)",
    ]) {
      await jobs.query(step).catch(() => {});
    }
    await jobs.end();
    const pos = await connectAs(db, logins.pos);
    await pos.query("select graphile_worker.add_job('purge')");
    await pos.query("update public.productos set stock_actual = 1 where id = $1", [producto]);
    await pos.end();
    await db.pool.query("select graphile_worker.add_job('purge')");
    const { rows } = await db.pool.query("select distinct who from public.loot");
    assert.deepEqual(rows, []);
  });

  it("takes no role but those it is a member of", async () => {
    const all = [...ourRoles, ...Object.keys(reach()), logins.pos, "postgres", "pg_read_all_data"];
    for (const [login, roles] of Object.entries(reach())) {
      const client = await connectAs(db, login);
      const may: string[] = [];
      for (const role of all) {
        for (const from of [login, ...roles]) {
          await client.query(`reset role; set role "${from}"`);
          const refused = await client.query(`set role "${role}"`).catch((error) => error.code);
          if (refused !== "42501") may.push(role);
          if (role === login) continue;
          await assert.rejects(client.query(`set session authorization "${role}"`), {
            code: "42501",
          });
        }
      }
      assert.deepEqual([...new Set(may)].sort(), [login, ...roles].sort());
      await client.end();
    }
  });

  it("reads no passwords, writes no tickets, and changes nothing that runs as somebody else", async () => {
    const before = await state();
    let tried = 0;
    const unlike: string[] = [];
    for (const [login, roles] of Object.entries(reach())) {
      const client = await connectAs(db, login);
      await client.query("create function pg_temp.f() returns int language sql as 'select 1'");
      await client.query(
        "create function pg_temp.f(json) returns bytea language sql as 'select null::bytea'",
      );
      const other = login === logins.jobs ? "nexus_server" : "nexus_worker";
      for (const role of [login, ...roles]) {
        for (const attack of attacks(login, other)) {
          await client.query(`reset role; set role "${role}"`);
          const refused = await client.query(attack).then(
            () => "nothing",
            (error) => error.code,
          );
          if (refused !== "42501") unlike.push(`${role}: ${refused}: ${attack}`);
          tried += 1;
        }
      }
      await client.end();
    }
    assert.deepEqual(unlike, []);
    assert.ok(tried > 300, `${tried} tried`);
    assert.deepEqual(await state(), before);
  });

  it("changes no session of ours by the settings of a role that it takes", async () => {
    const name = new URL(db.url).pathname.slice(1);
    const client = await connectAs(db, logins.jobs);
    await client.query("set role nexus_worker");
    // Its own settings anybody may change. Only a session that logs in as it would have them.
    for (const setting of [
      "search_path = public",
      "row_security = on",
      "default_transaction_read_only = on",
    ]) {
      await client.query(`alter role nexus_worker in database ${name} set ${setting}`);
    }
    const { rows } = await db
      .poolAs("nexus_worker")
      .query(
        "select current_setting('search_path') as path, current_setting('row_security') as rows, current_setting('transaction_read_only') as read_only",
      );
    await client.query(`alter role nexus_worker in database ${name} reset all`);
    await client.end();
    assert.deepEqual(rows, [{ path: "", rows: "off", read_only: "off" }]);
  });
});
