import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import type { Client } from "pg";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, addUser, setStock } from "../support/fixtures.ts";
import { connectAs } from "./login.ts";
import { addLogins, type Logins } from "./logins.ts";

/**
 * From the worker's login to the POS's owner, who reads users.hashed_password: a trigger or a function in the
 * queue runs as whoever enqueues; what runs as nexus_owner can put a trigger on the POS's tables; what that
 * calls runs as the POS's login. Each link is tried by itself, as if the one before had broken.
 */
describe("from the worker's login to the POS's owner", () => {
  let db: TestDatabase;
  let logins: Logins;
  let jobs: Client;
  let api: Client;
  let pos: Client;
  let tienda: string;
  let user: string;
  let producto: string;

  before(async () => {
    db = await createTestDatabase();
    logins = await addLogins(db);
    tienda = await addStore(db.pool);
    user = await addUser(db.pool, tienda);
    producto = await addProduct(db.pool, tienda, { stock: 50 });
    await db.pool.query(`
      create table public.caught (who text, what text);
      grant all on public.caught to public;
      -- What somebody plants: it runs, and tells as whom.
      create function public.spring(what text) returns void language sql
        as $$ insert into public.caught values (current_user, what) $$;
      create function public.spring() returns trigger language plpgsql
        as $$ begin perform public.spring(tg_table_name); return null; end $$;
      grant execute on function public.spring(text), public.spring() to public`);
  });
  beforeEach(async () => {
    await Promise.all([jobs?.end(), api?.end(), pos?.end()]);
    jobs = await connectAs(db, logins.jobs);
    api = await connectAs(db, logins.api);
    pos = await connectAs(db, logins.pos);
    await db.pool.query("delete from public.caught");
  });
  after(async () => {
    await Promise.all([jobs?.end(), api?.end(), pos?.end()]);
    await logins?.drop();
    await db.drop();
  });

  const caught = async () =>
    (await db.pool.query("select distinct who, what from public.caught order by 1, 2")).rows;

  /** Every way that leads into the queue, by everybody who takes one. */
  async function enqueue(): Promise<void> {
    const add = "select graphile_worker.add_job('purge', job_key => 'probe')";
    const dedupe =
      "select graphile_worker.add_job('purge', queue_name => 'q', job_key => 'once', job_key_mode => 'unsafe_dedupe')";
    const superuser = await db.pool.connect();
    for (const client of [superuser, pos]) {
      await client.query(add);
      await client.query(dedupe);
      await client.query(
        "select graphile_worker.add_jobs(array[('purge', '{}', null, null, 5, null, 0, null)::graphile_worker.job_spec])",
      );
      await client.query("select graphile_worker.remove_job('probe')");
      await client.query(
        `select graphile_worker.reschedule_jobs(array[id]), graphile_worker.permanently_fail_jobs(array[id]),
           graphile_worker.complete_jobs(array[id]) from graphile_worker.jobs where key = 'once'`,
      );
      await client.query(
        "select nexus_engine.cancel_job((graphile_worker.add_job('purge')).id, 'no')",
      );
      await client.query("select nexus_engine.request_refresh($1)", [tienda]);
    }
    superuser.release();
    const worker = db.poolAs("nexus_worker", 1);
    await worker.query(add);
    await worker.query("select nexus_engine.dispatch('t', null, now(), 100)");
    await worker.end();
    await api.query("set role nexus_tienda");
    await api.query("select set_config('nexus.user_id', $1, false)", [user]);
    await api.query("select nexus_api.refresh_insights()");
    const threshold = 20 + Math.round(Math.random() * 500);
    await api.query("select nexus_api.update_store_settings($1)", [
      { low_stock_threshold: threshold },
    ]);
  }

  it("runs what is planted in the queue, if it were, as nobody but the queue's own role", async () => {
    await db.pool.query(`
      create trigger planted after insert or update or delete on graphile_worker._private_jobs
      for each statement execute function public.spring()`);
    await enqueue();
    await db.pool.query("drop trigger planted on graphile_worker._private_jobs");
    assert.deepEqual(await caught(), [{ who: "nexus_queue", what: "_private_jobs" }]);
  });

  it("runs nothing that is planted in public for whoever enqueues, calls ours or starts us", async () => {
    const bait = (signature: string, returns: string, value: string) => `
      create function public.${signature} returns ${returns} language plpgsql as $$
        begin perform public.spring('${signature}'); return ${value}; end $$;`;
    await jobs.query(`
      create function public.unnest(graphile_worker.job_spec[]) returns setof graphile_worker.job_spec language plpgsql as $$
        begin perform public.spring('unnest(job_spec[])'); return query select * from pg_catalog.unnest($1); end $$;
      ${bait("array_length(graphile_worker.job_spec[], int)", "int", "1")}
      ${bait("cardinality(uuid[])", "int", "pg_catalog.cardinality($1)")}
      ${bait("quote_nullable(uuid)", "text", "''")}
      ${bait("jsonb_build_object(text, text)", "jsonb", "'{}'")}
      ${bait("joined(text, uuid)", "text", "$1 || $2::text")}
      ${bait("same(oid, regnamespace)", "boolean", "$1 = $2::oid")}
      ${bait("pg_advisory_xact_lock(text)", "void", "")}
      ${bait("pg_try_advisory_lock(text)", "boolean", "true")}
      create operator public.|| (function = public.joined, leftarg = text, rightarg = uuid);
      create operator public.= (function = public.same, leftarg = oid, rightarg = regnamespace)`);
    await enqueue();
    for (const client of [pos, db.pool]) {
      // Of the POS's own, for the reconciler to archive.
      await client.query(
        "insert into public.insights (id, tipo, mensaje, nivel_urgencia, is_active, extra_data, created_at, tienda_id) values (gen_random_uuid(), 'STOCK_BAJO', '', 'ALTA', true, null, now(), $1)",
        [tienda],
      );
      await client.query("select nexus_engine.reconcile(null, array[$1]::uuid[], now())", [tienda]);
      await client.query("select nexus_engine.forget_dismissals(array[$1]::uuid[], now())", [
        tienda,
      ]);
      await client.query("select nexus_engine.detach()");
      await client.query("select nexus_engine.attach()");
    }
    await prepareDatabase(db.url, createLog("silent"));
    assert.deepEqual(await caught(), []);
    // It does catch who does not look out.
    await db.pool.query("select cardinality(array[$1]::uuid[])", [tienda]);
    assert.equal((await caught()).length, 1);
    await jobs.query(`drop owned by ${logins.jobs} cascade`);
  });

  it("runs no cast of somebody's own types with nexus_owner's rights, by a trigger on a table of his own", async () => {
    const { rows: functions } = await db.pool.query(
      `select f.oid::regprocedure::text as name, f.proname from pg_proc f
       where f.prorettype = 'trigger'::regtype and f.pronamespace::regnamespace::text in ('nexus_engine', 'nexus_api')`,
    );
    assert.ok(functions.length >= 8);
    for (const client of [jobs, api]) {
      await client.query(`
        create type pg_temp.evil as (id uuid);
        create function pg_temp.cast(pg_temp.evil) returns uuid language plpgsql as $$
          begin perform public.spring('cast'); return $1.id; end $$;
        create cast (pg_temp.evil as uuid) with function pg_temp.cast(pg_temp.evil) as implicit;`);
      for (const { name } of functions) {
        await client.query(
          "create temp table own (id uuid, tienda_id pg_temp.evil, stock_actual float8, is_active boolean)",
        );
        const refused = await client
          .query(`create trigger planted after insert on own for each row execute function ${name}`)
          .then(
            () => undefined,
            (error) => error.code,
          );
        await client
          .query("insert into own values (gen_random_uuid(), row(gen_random_uuid()), 1, true)")
          .catch(() => {});
        await client.query("drop table own");
        assert.equal(refused, "42501", `${name}: ${JSON.stringify(await caught())}`);
      }
    }
    assert.deepEqual(await caught(), []);
  });

  it("makes no trigger as nexus_owner, attached or not, and those of attach() work", async () => {
    const may = async () => {
      const able: string[] = [];
      const client = await db.pool.connect();
      for (const table of [
        "tiendas",
        "users",
        "productos",
        "ventas",
        "detalles_venta",
        "insights",
      ]) {
        await client.query("begin; set local role nexus_owner");
        const refused = await client
          .query(
            `create trigger planted after insert on public.${table} for each row execute function public.spring()`,
          )
          .catch((error) => error.code);
        if (refused !== "42501") able.push(table);
        await client.query("rollback");
      }
      client.release();
      return able;
    };
    assert.deepEqual(await may(), []);
    await pos.query("select nexus_engine.detach()");
    assert.deepEqual(await may(), []);
    await pos.query("select nexus_engine.attach()");
    assert.deepEqual(await may(), []);
    await setStock(db.pool, producto, 6);
    const fecha = new Date(Date.now() - 26 * 3_600_000);
    const lines = [{ productoId: producto, cantidad: 1, precio: 5 }];
    await addSale(db.pool, tienda, { fecha, lines });
    await db.pool.query("update public.detalles_venta set cantidad = 2");
    const { rows } = await db.pool.query(
      `select (select count(*)::int from nexus_engine.stock_event) > 0 as stock,
         (select count(*)::int from nexus_engine.sale_mark) as marks`,
    );
    assert.deepEqual(rows, [{ stock: true, marks: 2 }]);
  });

  it("takes jobs from a service that may call add_job and nothing else, inside its transaction", async () => {
    const { rows } = await db.pool.query<{ login: string }>(
      "select 'service_' || right($1, 8) as login",
      [logins.jobs],
    );
    const login = rows[0]?.login as string;
    await db.pool.query(`create role ${login} login password '${login}';
      grant usage on schema graphile_worker to ${login};
      grant execute on function graphile_worker.add_job to ${login}`);
    const service = await connectAs(db, login);
    const add = "select graphile_worker.add_job('purge', job_key => $1)";
    await service.query("begin");
    await service.query(add, ["undone"]);
    await service.query("rollback");
    await service.query(add, ["done"]);
    await assert.rejects(service.query("select from graphile_worker.jobs"), { code: "42501" });
    await service.end();
    await db.pool.query(`drop owned by ${login}; drop role ${login}`);
    const { rows: jobsOf } = await db.pool.query(
      "select key from graphile_worker.jobs where key in ('done', 'undone')",
    );
    assert.deepEqual(jobsOf, [{ key: "done" }]);
  });

  it("lets the queue's own role do nothing outside of the queue", async () => {
    const { rows } = await db.pool.query(
      `select c.oid::regclass::text as object from pg_class c
       where c.relnamespace::regnamespace::text in ('public', 'nexus_engine', 'nexus_api') and c.relkind in ('r', 'v', 'S')
         and c.relname <> 'caught' and case c.relkind
           when 'S' then has_sequence_privilege('nexus_queue', c.oid, 'usage,select,update')
           else has_table_privilege('nexus_queue', c.oid, 'select,insert,update,delete,truncate,references,trigger')
             or has_any_column_privilege('nexus_queue', c.oid, 'select,insert,update,references') end
       union all
       select f.oid::regprocedure::text from pg_proc f
       where f.pronamespace::regnamespace::text in ('nexus_engine', 'nexus_api') and has_function_privilege('nexus_queue', f.oid, 'execute')
       union all
       select r.rolname from pg_roles r where r.rolname <> 'nexus_queue' and pg_has_role('nexus_queue', r.oid, 'member')`,
    );
    assert.deepEqual(rows, []);
  });
});
