import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { pino } from "pino";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";

const log = createLog("silent");

describe("a start that finds something of ours missing", () => {
  let db: TestDatabase;
  let whole: unknown[];
  before(async () => {
    db = await createTestDatabase();
    whole = await ours();
  });
  after(() => db.drop());
  beforeEach(async () => {
    assert.deepEqual(await ours(), whole);
  });

  /** Every function, view and trigger of ours, as it is defined and who may use it. */
  async function ours(): Promise<unknown[]> {
    const { rows } = await db.pool.query(`
      select 'function' as kind, p.oid::regprocedure::text as name, md5(pg_get_functiondef(p.oid)) || p.proacl::text as def
      from pg_proc p where pronamespace in ('nexus_engine'::regnamespace, 'nexus_api'::regnamespace)
      union all
      select 'view', c.oid::regclass::text, pg_get_viewdef(c.oid) || coalesce(c.relacl::text, '')
        || coalesce((select string_agg(d.description, ' ' order by d.objsubid) from pg_description d where d.objoid = c.oid), '')
      from pg_class c where c.relkind = 'v' and c.relnamespace in ('nexus_engine'::regnamespace, 'nexus_api'::regnamespace)
      union all
      select 'trigger', t.tgname || t.tgrelid::regclass, pg_get_triggerdef(t.oid) || t.tgenabled::text
      from pg_trigger t join pg_proc f on f.oid = t.tgfoid where f.pronamespace = 'nexus_engine'::regnamespace
      order by 1, 2`);
    return rows;
  }

  async function start(): Promise<string[]> {
    const lines: string[] = [];
    await prepareDatabase(
      db.url,
      pino({ level: "warn" }, { write: (line) => void lines.push(line) }),
    );
    return lines.map((line) => JSON.parse(line).msg);
  }

  for (const [what, dropped] of [
    [
      "views, functions and triggers",
      `drop view nexus_engine.store cascade; drop view nexus_api.refresh_requests cascade;
       drop function nexus_engine.money cascade; drop function nexus_engine.reconcile;
       drop function nexus_engine.on_stock_change cascade;
       drop trigger check_store_settings on nexus_engine.store_settings`,
    ],
    [
      "attach() and detach()",
      "drop function nexus_engine.attach; drop function nexus_engine.detach",
    ],
    ["what knows what is missing", "drop function nexus_engine.missing_objects"],
  ] as const) {
    it(`makes ${what} anew`, async () => {
      await db.pool.query(dropped);
      assert.deepEqual(await start(), ["what is missing of ours is made anew"]);
      assert.deepEqual(await ours(), whole);
      assert.deepEqual(await start(), [], "once");
    });
  }

  it("refuses to go on without a table of ours, whose rows are in a backup only", async () => {
    await db.pool.query(
      "alter table nexus_engine.stock_recheck rename to elsewhere; update nexus_engine.migration set sha256 = 'older' where name = 'engine/clock.sql'",
    );
    for (let n = 0; n < 2; n += 1) {
      await assert.rejects(
        start(),
        /nexus_engine\.stock_recheck missing: restore .* npm run export/,
      );
    }
    await db.pool.query("alter table nexus_engine.elsewhere rename to stock_recheck");
    await start();
  });

  it("does the same after the tables were made anew by the POS", async () => {
    await db.pool.query(`
      create table public.other (like public.insights including all);
      drop table public.insights cascade;
      alter table public.other rename to insights`);
    await start();
    const { rowCount } = await db.pool.query("select nexus_engine.missing_grants()");
    assert.equal(rowCount, 0);
  });

  it("replaces a view that has other columns, or others' types", async () => {
    await db.pool.query(`
      drop view nexus_engine.product_level;
      create view nexus_engine.product_level as select p.id as producto_id, p.nombre, 1 as more from public.productos p;
      alter view nexus_engine.product_level owner to nexus_owner;
      update nexus_engine.migration set sha256 = 'older' where name = 'engine/store.sql'`);
    assert.deepEqual(await start(), []);
  });

  it("keeps the texts of its files, without those of earlier releases", async () => {
    await db.pool.query(`
      update nexus_engine.migration set text = null where name = 'api/insights.sql';
      insert into nexus_engine.migration (name, sha256, text) values ('engine/aaa.sql', '', 'select 1 / 0')`);
    await start();
    const { rows } = await db.pool.query(
      "select count(*)::int as files, count(*) filter (where text is null)::int as without from nexus_engine.migration where name not like 'migrations/%'",
    );
    assert.ok(rows[0].files > 50);
    assert.equal(rows[0].without, 0);
  });

  it("leaves alone what detach() took away, also where its files have changed", async () => {
    await db.pool.query("select nexus_engine.detach()");
    const bare = await ours();
    assert.ok(bare.length < whole.length - 20);
    const views = ["engine/sale.sql", "engine/store.sql", "api/insights.sql"];
    await db.pool.query(
      "update nexus_engine.migration set sha256 = 'older' where name = any ($1)",
      [[...views, "engine/clock.sql"]],
    );
    for (let n = 0; n < 2; n += 1) {
      assert.deepEqual(await start(), [
        "detached from the POS's tables: the engine rests until nexus_engine.attach() is called",
      ]);
      assert.deepEqual(await ours(), bare);
    }
    await db.pool.query("select nexus_engine.attach()");
    assert.deepEqual(await ours(), whole);
    await prepareDatabase(db.url, log);
  });
});
