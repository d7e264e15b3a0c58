import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, beforeEach, describe, it } from "node:test";
import type { Client } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, addUser, idsOf, reconcile } from "../support/fixtures.ts";
import { connectAs } from "./login.ts";

/**
 * Somebody who can run any SQL as a user of store B: by a hole in the API, on a connection whose login
 * is a member of nexus_server only. What belongs to store A bears the mark.
 */
const mark = "SECRETO-A";

describe("SQL of an attacker on a connection of the API", () => {
  let db: TestDatabase;
  let attacker: Client;
  let a: { tienda: string; user: string; ids: string[] };
  let b: { tienda: string; user: string };
  const login = `api_${randomUUID().slice(0, 8)}`;

  before(async () => {
    db = await createTestDatabase();
    await db.pool.query(`create role ${login} login password '${login}' in role nexus_server`);
    const tienda = await addStore(db.pool, {
      nombre: mark,
      settings: { counted_pending_methods: [mark, "efectivo"] },
    });
    const user = await addUser(db.pool, tienda);
    const productoId = await addProduct(db.pool, tienda, { nombre: mark, sku: mark, stock: 1 });
    await addSale(db.pool, tienda, {
      fecha: new Date(Date.now() - 26 * 3_600_000),
      metodoPago: mark,
      lines: [{ productoId, cantidad: 1, precio: 7777.77 }],
    });
    const other = await addStore(db.pool, { nombre: "La otra" });
    await addProduct(db.pool, other, { stock: 2 });
    b = { tienda: other, user: await addUser(db.pool, other) };
    await reconcile(db.pool, [tienda, other], new Date());
    await db.pool.query("select nexus_engine.request_refresh($1, $2)", [tienda, user]);
    a = { tienda, user, ids: await idsOf(db.pool, tienda) };
  });
  after(async () => {
    await attacker.end();
    await db.pool.query(`drop owned by ${login}`);
    await db.pool.query(`drop role ${login}`);
    await db.drop();
  });
  beforeEach(async () => {
    await attacker?.end();
    attacker = await connectAs(db, login);
    await attacker.query("set role nexus_tienda");
    await attacker.query("select set_config('nexus.user_id', $1, false)", [b.user]);
  });

  const isOfA = (text: string) =>
    text.includes(mark) || text.includes("7777.77") || a.ids.some((id) => text.includes(id));

  /** Everything that nexus_api shows or returns to whoever asks, functions with each of A's ids. */
  async function everything(): Promise<{ what: string; text: string }[]> {
    const { rows: asked } = await db.pool.query<{ what: string; sql: string }>(
      `select c.relname as what, format('select v::text as text from nexus_api.%I v', c.relname) as sql
       from pg_class c where c.relnamespace = 'nexus_api'::regnamespace and c.relkind = 'v'
       union all
       select f.proname, format('select f::text as text from nexus_api.%I(%s) f', f.proname, (
         select string_agg(case t
           when 'uuid'::regtype then quote_literal(id) || '::uuid'
           when 'boolean'::regtype then 'false'
           when 'date'::regtype then 'null::date'
           when 'timestamptz'::regtype then 'now()'
           when 'double precision'::regtype then '5'
           when 'jsonb'::regtype then '''{"lead_time_days": 5}''::jsonb'
           else (select quote_literal(e.enumlabel) || '::' || t::regtype from pg_enum e where e.enumtypid = t limit 1) end, ', ' order by n)
         from unnest(f.proargtypes) with ordinality p (t, n)))
       from pg_proc f cross join lateral (
         select id from unnest($1::uuid[]) id where 'uuid'::regtype = any (f.proargtypes)
         union all select null where 'uuid'::regtype <> all (f.proargtypes)
       ) i
       where f.pronamespace = 'nexus_api'::regnamespace`,
      [a.ids],
    );
    assert.ok(asked.length >= 17 + a.ids.length - 1, `${asked.length} calls`);
    const answers: { what: string; text: string }[] = [];
    for (const { what, sql } of asked) {
      await attacker.query("begin");
      const { rows } = await attacker.query<{ text: string }>(sql).catch((error) => {
        // No such row in the caller's store, or no store.
        assert.match(error.code, /^NX00[23]$|^22P02$/, `${sql}: ${error.message}`);
        return {
          rows: [{ text: `${error.message} ${error.detail ?? ""}`.replace(/got '.*'/, "") }],
        };
      });
      await attacker.query("rollback");
      answers.push(...rows.map(({ text }) => ({ what, text: text ?? "" })));
    }
    return answers;
  }

  const shown = async () => (await everything()).filter(({ text }) => isOfA(text));

  it("reads nothing of another store through any view or function", async () => {
    assert.deepEqual(await shown(), []);
    // What makes the difference.
    await attacker.query("select set_config('nexus.user_id', $1, false)", [a.user]);
    const found = new Set((await shown()).map(({ what }) => what));
    for (const what of ["insights", "productos", "tiendas", "store_settings", "refresh_requests"]) {
      assert.ok(found.has(what), `${what} shows nothing of A to A itself`);
    }
  });

  it("gets nothing at all by a user id that is no active user's", async () => {
    const idle = await addUser(db.pool, a.tienda, { isActive: false });
    const closed = await addUser(db.pool, await addStore(db.pool, { isActive: false }));
    for (const forged of [
      "",
      "x",
      randomUUID(),
      idle,
      closed,
      a.tienda,
      "' or true --",
      `{${randomUUID()}}x`,
    ]) {
      await attacker.query("select set_config('nexus.user_id', $1, false)", [forged]);
      for (const { what, text } of await everything()) {
        assert.ok(!isOfA(text) && !text.includes("La otra"), `${forged}: ${what}: ${text}`);
      }
    }
    await attacker.query("reset nexus.user_id");
    assert.deepEqual(await shown(), []);
  });

  it("becomes nobody but what the API may be", async () => {
    const { rows } = await db.pool.query("select rolname from pg_roles");
    const became: string[] = [];
    const refusal = (text: string) =>
      attacker.query(text).then(
        () => undefined,
        (error) => error.code,
      );
    for (const { rolname } of rows) {
      await attacker.query("reset role");
      const asRole = await refusal(`set role "${rolname}"`);
      const asSession = await refusal(
        `set session authorization "${rolname === login ? "nexus_owner" : rolname}"`,
      );
      // Roles are the cluster's: those of other tests come and go.
      const { rowCount } = await db.pool.query("select from pg_roles where rolname = $1", [
        rolname,
      ]);
      if (!rowCount) continue;
      if (asRole) assert.equal(asRole, "42501", rolname);
      else became.push(rolname);
      assert.equal(asSession, "42501", rolname);
    }
    assert.deepEqual(became.sort(), [login, "nexus_ops", "nexus_server", "nexus_tienda"].sort());
  });

  it("is not helped by temporary objects that bear the names of ours, nor by a search path", async () => {
    await attacker.query(`
      create temp table users as select '${b.user}'::uuid as id, true as is_active, '${a.tienda}'::uuid as tienda_id;
      create temp table tiendas as select '${a.tienda}'::uuid as id, true as is_active, '${mark}' as nombre;
      create temp table insights as select '${mark}' as mensaje;
      create temp table store_settings as select '${a.tienda}'::uuid as tienda_id;
      create temp view store as select '${a.tienda}'::uuid as tienda_id;
      create function pg_temp.current_setting(text, boolean) returns text language sql as $$ select '${a.user}' $$;
      create function pg_temp.current_tienda_id() returns uuid language sql as $$ select '${a.tienda}'::uuid $$;
      create function pg_temp.require_tienda_id() returns uuid language sql as $$ select '${a.tienda}'::uuid $$;
      grant all on users, tiendas, insights, store_settings, store to public`);
    for (const path of [
      "pg_temp, pg_catalog",
      "pg_temp, nexus_engine, nexus_api, public",
      "nexus_engine",
    ]) {
      await attacker.query(`set search_path = ${path}`);
      const found = (await everything()).filter(({ text }) => isOfA(text));
      assert.deepEqual(found, [], path);
    }
  });

  it("runs nothing with the owner's rights by a temporary type that bears the name of Postgres's own", async () => {
    const heard: string[] = [];
    attacker.on("notice", ({ message }) => heard.push(message ?? ""));
    await attacker.query(`
      create function pg_temp.hear(text) returns boolean language plpgsql as $$
        begin raise notice '% hears', current_user; return true; end $$;
      create domain pg_temp.uuid as pg_catalog.uuid check (pg_temp.hear(value::text));
      create domain pg_temp.text as pg_catalog.text check (pg_temp.hear(value));
      create domain pg_temp.jsonb as pg_catalog.jsonb check (pg_temp.hear(value::pg_catalog.text));
      create domain pg_temp.date as pg_catalog.date check (pg_temp.hear(value::pg_catalog.text));
      create domain pg_temp.numeric as pg_catalog.numeric check (pg_temp.hear(value::pg_catalog.text))`);
    await attacker.query("select null::uuid");
    heard.length = 0;
    await everything();
    assert.deepEqual(
      heard.filter((message) => message.includes("nexus_owner")),
      [],
    );
    // The attacker's own casts are its own affair, and show that it does hear.
    await attacker.query(`select '${a.tienda}'::uuid`);
    assert.deepEqual(heard.slice(-1), ["nexus_tienda hears"]);
  });

  it("learns nothing by conditions that are cheap, fail or call out, whatever the plan", async () => {
    await attacker.query(`
      create temp table heard (text text);
      create function pg_temp.hear(text) returns boolean language plpgsql cost 0.0000001 as $$
        begin raise notice 'heard %', $1; return true; end $$`);
    const heard: string[] = [];
    attacker.on("notice", ({ message }) => heard.push(message ?? ""));
    const { rows: columns } = await db.pool.query<{ view: string; column: string }>(
      `select c.relname as view, a.attname as column from pg_class c join pg_attribute a on a.attrelid = c.oid
       where c.relnamespace = 'nexus_api'::regnamespace and c.relkind = 'v' and a.attnum > 0`,
    );
    for (const plan of [
      "",
      "set enable_indexscan = off; set enable_bitmapscan = off",
      "set enable_seqscan = off",
    ]) {
      await attacker.query(plan);
      for (const { view, column } of columns) {
        // Cheaper than the comparison with the own store's id, and so asked first where that is allowed.
        await attacker.query(
          `select from nexus_api.${view} v where pg_temp.hear(v.${column}::text)`,
        );
        await attacker.query(
          `select from nexus_api.${view} v where 1 / (case when v.${column}::text like '%${mark}%' then 0 else 1 end) > 0`,
        );
        await attacker.query(
          `select from nexus_api.${view} v where case when v.${column}::text like '%${mark}%' then v.${column}::text::int > 0 else true end`,
        );
      }
    }
    assert.ok(heard.length > 0, "nothing of the own store was heard");
    assert.deepEqual(heard.filter(isOfA), []);
    const { rows: statistics } = await attacker.query(
      "select * from pg_catalog.pg_stats where schemaname in ('public', 'nexus_engine') and (schemaname, tablename) <> ('pg_catalog', '')",
    );
    assert.deepEqual(statistics, []);
    await assert.rejects(attacker.query("select * from pg_catalog.pg_statistic"), {
      code: "42501",
    });
  });

  it("changes nothing of another store, nor anything by itself", async () => {
    const state = async () =>
      (
        await db.pool.query(
          "select (select md5(string_agg(i::text, '' order by id)) from public.insights i where tienda_id = $1), (select s::text from nexus_engine.store_settings s where tienda_id = $1)",
          [a.tienda],
        )
      ).rows;
    const before = await state();
    await attacker.query("select nexus_api.clear_insights(false)");
    await attacker
      .query(`select nexus_api.update_store_settings('{"tienda_id": "${a.tienda}"}')`)
      .then(
        () => assert.fail("a setting that is none was taken"),
        (error) => assert.equal(error.code, "NX001"),
      );
    for (const id of a.ids) {
      await assert.rejects(attacker.query("select nexus_api.dismiss_insight($1)", [id]), {
        code: "NX002",
      });
    }
    assert.deepEqual(await state(), before);
  });
});
