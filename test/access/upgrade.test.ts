import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addStore } from "../support/fixtures.ts";
import { addLogins, type Logins } from "./logins.ts";
import { privilegeMatrix } from "./matrix.ts";

describe("a database whose queue belonged to nexus_worker", () => {
  let db: TestDatabase;
  let logins: Logins;
  before(async () => {
    db = await createTestDatabase();
    logins = await addLogins(db);
  });
  after(async () => {
    await logins?.drop();
    await db.drop();
  });

  /** Who may do what, and how the functions of the queue run. */
  async function state(): Promise<string[]> {
    const { rows } = await db.pool.query<{ line: string }>(
      `select format('%s %s %s %s', f.oid::regprocedure, f.proowner::regrole, f.prosecdef, f.proconfig) as line from pg_proc f
       where f.pronamespace = 'graphile_worker'::regnamespace
       union all select format('%s %s %s', c.oid::regclass, c.relowner::regrole, c.relrowsecurity) from pg_class c
         where c.relnamespace = 'graphile_worker'::regnamespace
       order by 1`,
    );
    return [...rows.map(({ line }) => line), ...(await privilegeMatrix(db.pool, logins.jobs))];
  }

  /** As the release before left it, with a trigger and a function that somebody planted. */
  async function goBack(): Promise<void> {
    await db.pool.query(`
      delete from nexus_engine.migration where name in ('migrations/0018_queue_owner.sql', 'engine/rights.sql');
      revoke all on all tables in schema graphile_worker from nexus_worker;
      alter schema graphile_worker owner to nexus_worker;
      alter type graphile_worker.job_spec owner to nexus_worker;
      alter view graphile_worker.jobs owner to nexus_worker;
      grant trigger on public.ventas, public.detalles_venta to nexus_owner;
      do $$ declare it record; begin
        for it in select c.oid::regclass as name, c.relname from pg_class c
          where c.relnamespace = 'graphile_worker'::regnamespace and c.relkind = 'r'
        loop
          execute format('alter table %s owner to nexus_worker', it.name);
          execute format('alter table %s %s row level security', it.name,
            case when it.relname = 'migrations' then 'disable' else 'enable' end);
        end loop;
        for it in select f.oid::regprocedure as name from pg_proc f where f.pronamespace = 'graphile_worker'::regnamespace
        loop
          execute format('alter function %s owner to nexus_worker', it.name);
          execute format('alter function %s security invoker reset search_path', it.name);
        end loop;
      end $$;
      set role nexus_worker;
      create function graphile_worker.planted() returns trigger language plpgsql as $$ begin return new; end $$;
      create trigger planted before insert on graphile_worker._private_jobs
        for each row execute function graphile_worker.planted();
      create rule planted as on delete to graphile_worker._private_tasks do instead nothing;
      reset role`);
  }

  it("is the same as a new one once an owner who is no superuser has migrated it", async () => {
    const fresh = await state();
    await goBack();
    assert.notDeepEqual(await state(), fresh);
    await db.pool.query("select graphile_worker.add_job('refresh_stores', job_key => 'kept')");
    const url = new URL(db.url);
    url.username = logins.pos;
    url.password = logins.pos;
    await prepareDatabase(url.toString(), createLog("silent"));

    const { rows: planted } = await db.pool.query(
      `select tgname as name from pg_trigger t join pg_class c on c.oid = t.tgrelid
       where c.relnamespace = 'graphile_worker'::regnamespace
       union all select rulename from pg_rules where schemaname = 'graphile_worker'`,
    );
    assert.deepEqual(planted, []);
    const { rows: left } = await db.pool.query(
      "select proowner::regrole::text as owner from pg_proc where proname = 'planted'",
    );
    assert.deepEqual(left, [{ owner: "nexus_worker" }], "it has nobody else's rights");
    await db.pool.query("drop function graphile_worker.planted()");
    assert.deepEqual(await state(), fresh);
    const { rowCount } = await db.pool.query("select from graphile_worker.jobs where key = 'kept'");
    assert.equal(rowCount, 1);
    const store = await addStore(db.pool);
    await db.pool.query("select nexus_engine.request_refresh($1)", [store]);

    await prepareDatabase(url.toString(), createLog("silent"));
    assert.deepEqual(await state(), fresh, "a second start changes nothing");
  });
});
