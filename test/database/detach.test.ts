import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";
import { type Api, answered, startApi } from "../graphql/api.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addStore, addUser, reconcile } from "../support/fixtures.ts";

const log = createLog("silent");
const detach = "select nexus_engine.detach()";
const attach = "select nexus_engine.attach()";

describe("detach() and attach()", () => {
  let db: TestDatabase;
  let api: Api;
  before(async () => {
    db = await createTestDatabase();
    api = await startApi(db);
  });
  after(async () => {
    await api?.close();
    await db.drop();
  });

  it("name what the POS took away or changed of what we need, and nothing is changed then", async () => {
    await db.pool.query(detach);
    await db.pool.query(
      "alter table public.ventas alter total type text; alter table public.productos drop column sku; alter table public.users rename to people",
    );
    await assert.rejects(db.pool.query(attach), (error: Error & { code: string }) => {
      assert.equal(error.code, "NX006");
      assert.deepEqual(error.message.split("\n  ").slice(1), [
        "public.users: expected a table of Nexus POS, found none",
        "public.productos.sku: expected a text, found no such column",
        "public.ventas.total: expected a number, got text",
      ]);
      return true;
    });
    assert.equal(await prepareDatabase(db.url, log), true, "a start waits for attach()");
    const { rows } = await db.pool.query(
      `select (select count(*)::int from nexus_engine.detached) as notes, to_regclass('nexus_engine.sale') as sale,
         (select count(*)::int from nexus_engine.own_trigger) as triggers`,
    );
    assert.deepEqual(rows, [{ notes: 1, sale: null, triggers: 0 }]);
    await db.pool.query(
      `alter table public.ventas alter total type double precision using total::double precision;
       alter table public.productos add column sku varchar(100) not null default 'SKU'; alter table public.people rename to users`,
    );
    await db.pool.query(attach);
  });

  it("fail no store for what is not there meanwhile, and the API says to try again", async () => {
    const worker = db.poolAs("nexus_worker");
    const store = await addStore(db.pool);
    const user = await addUser(db.pool, store);
    const passing = async () =>
      (await db.pool.query("select nexus_engine.is_passing('42P01') as passing")).rows[0].passing;
    assert.equal(await passing(), false);
    await db.pool.query(detach);
    assert.equal(await passing(), true);
    await assert.rejects(reconcile(worker, [store], new Date(), ["VENTAS_DIARIAS"]), {
      code: "42P01",
    });
    assert.deepEqual((await db.pool.query("select from nexus_engine.store_failure")).rowCount, 0);
    const { code } = await api.ask(user, "{ insights { nodes { tipo } } }");
    assert.equal(code, "UNAVAILABLE");
    await db.pool.query(attach);
    await answered(() => api.ask(user, "{ insights { nodes { tipo } } }"));
  });

  it("say when what they made anew is there, not when they were called", async () => {
    const client = await db.pool.connect();
    try {
      await client.query(`begin; ${detach}; ${attach}`);
      const { rows } = await client.query(
        "select bool_and(m.applied_at > now()) as it from nexus_engine.migration m where m.text is not null",
      );
      assert.deepEqual(rows, [{ it: true }]);
    } finally {
      await client.query("rollback");
      client.release();
    }
  });

  it("leave a trigger alone whose name alone is like ours", async () => {
    await db.pool.query(`
      create function public.audit() returns trigger language plpgsql as 'begin return null; end';
      create trigger nexus_audit after insert on public.ventas for each row execute function public.audit()`);
    for (const call of [attach, detach, attach]) await db.pool.query(call);
    const { rows } = await db.pool.query(
      "select t.tgenabled as is, nexus_engine.has_old_triggers() as old from pg_trigger t where t.tgname = 'nexus_audit'",
    );
    assert.deepEqual(rows, [{ is: "O", old: false }]);
    await db.pool.query("drop function public.audit() cascade");
  });

  it("may be called by many at once", async () => {
    for (let n = 0; n < 3; n += 1) {
      await Promise.all([detach, detach, attach, attach].map((call) => db.pool.query(call)));
    }
    await db.pool.query(attach);
    const { rows } = await db.pool.query(
      "select nexus_engine.attached(), (select count(*)::int from nexus_engine.missing_objects()) as missing",
    );
    assert.deepEqual(rows, [{ attached: true, missing: 0 }]);
  });

  it("need no owner of the POS's tables, only the right TRIGGER", async () => {
    const login = `migrator_${randomUUID().slice(0, 8)}`;
    await db.pool.query(`create role ${login}; grant nexus_owner to ${login};
      grant trigger on public.productos, public.ventas, public.detalles_venta, public.insights to ${login}`);
    const client = await db.pool.connect();
    try {
      await client.query(`set role ${login}`);
      await client.query(detach);
      await client.query(detach);
      const role = "select current_user, session_user <> current_user as acting";
      const { rows: acting } = await client.query(role);
      await client.query(attach);
      await client.query(attach);
      assert.deepEqual((await client.query(role)).rows, acting, "it is itself again");
      const { rows } = await client.query("select nexus_engine.attached()");
      assert.deepEqual(rows, [{ attached: true }]);
      await db.pool.query("revoke select on public.ventas from nexus_owner, nexus_worker");
      await assert.rejects(client.query(attach), (error: Error & { code: string }) => {
        assert.equal(error.code, "42501");
        assert.deepEqual(error.message.split("\n  ").slice(1), [
          "grant select on public.ventas to nexus_owner;",
          "grant select on public.ventas to nexus_worker;",
        ]);
        return true;
      });
      await db.pool.query(attach);
      await client.query(attach);
    } finally {
      await client.query("reset role");
      client.release();
      await db.pool.query(`drop owned by ${login}; drop role ${login}`);
    }
  });

  it("are refused while a view of somebody else's reads one of ours", async () => {
    await db.pool.query("create view public.report as select count(*) from nexus_engine.sale");
    await assert.rejects(db.pool.query(detach), { code: "2BP01", message: /nexus_engine\.sale/ });
    const { rows } = await db.pool.query("select nexus_engine.attached()");
    assert.deepEqual(rows, [{ attached: true }]);
    await db.pool.query("drop view public.report");
  });
});
