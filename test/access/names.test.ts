import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { Pool } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, addUser, setSettings } from "../support/fixtures.ts";
import { connectAs } from "./login.ts";

describe("functions that somebody put into public, where everybody may", () => {
  let db: TestDatabase;
  const login = `someone_${randomUUID().slice(0, 8)}`;
  before(async () => {
    db = await createTestDatabase();
    await db.pool.query(`create role ${login} login password '${login}'`);
    // As in every database that was made before PostgreSQL 15.
    await db.pool.query("grant create on schema public to public");
  });
  after(async () => {
    await db.pool.query(`drop owned by ${login}`);
    await db.pool.query(`drop role ${login}`);
    await db.drop();
  });

  it("are never run by the worker, by the API or by our triggers", async () => {
    const caught = (signature: string, returns: string, value: string) => `
      create function public.${signature} returns ${returns} language plpgsql as $$
        begin insert into public.caught values (current_user); return ${value}; end $$;`;
    const someone = await connectAs(db, login);
    await someone.query(`
      create table public.caught (as_role text);
      grant all on public.caught to public;
      ${caught("cardinality(uuid[])", "int", "pg_catalog.cardinality($1)")}
      ${caught("quote_nullable(uuid)", "text", "''")}
      ${caught("clock_timestamp()", "timestamptz", "pg_catalog.clock_timestamp()")}
      ${caught("now()", "timestamptz", "pg_catalog.now()")}
      ${caught("current_setting(text, boolean)", "text", "pg_catalog.current_setting($1, $2)")}
      ${caught("abs(float8)", "float8", "pg_catalog.abs($1)")}
      ${["float8", "uuid", "boolean", "int4", "timestamptz"]
        .flatMap((type) => [
          caught(`compare(${type}, ${type})`, "boolean", "true"),
          ...["=", "<>", "<", "<=", ">", ">="].map(
            (operator) =>
              `create operator public.${operator} (function = public.compare, leftarg = ${type}, rightarg = ${type});`,
          ),
        ])
        .join("\n")}`);
    await someone.end();

    const tienda = await addStore(db.pool);
    const user = await addUser(db.pool, tienda);
    const productoId = await addProduct(db.pool, tienda, { stock: 1 });
    await setSettings(db.pool, tienda, { low_stock_threshold: 9 });
    await db.pool.query(
      "insert into nexus_engine.product_settings (producto_id, tienda_id, min_stock) values ($1, $2, 8)",
      [productoId, tienda],
    );
    // A till of the POS whose search path prefers public even to Postgres's own.
    const till = new Pool({
      connectionString: db.url,
      max: 1,
      options: "-c search_path=public,pg_catalog",
    });
    await till.query(`
      create function pg_temp.catch(text) returns boolean language plpgsql as $$
        begin insert into public.caught values (current_user || ' by a type'); return true; end $$;
      create domain pg_temp.uuid as pg_catalog.uuid check (pg_temp.catch(value::pg_catalog.text));
      create domain pg_temp.text as pg_catalog.text check (pg_temp.catch(value));
      create domain pg_temp.timestamptz as pg_catalog.timestamptz check (pg_temp.catch(value::pg_catalog.text));
      create domain pg_temp.float8 as pg_catalog.float8 check (pg_temp.catch(value::pg_catalog.text))`);
    const fecha = new Date(Date.now() - 26 * 3_600_000);
    await addSale(till, tienda, { fecha, lines: [{ productoId, cantidad: 1, precio: 5 }] });
    await till.query("update public.productos set stock_actual = 0");
    await till.query("update public.ventas set total = 4");
    await till.query("update public.detalles_venta set cantidad = 2");

    // These prefer Postgres's own, as everybody does by default, but for the types of the arguments.
    const worker = db.poolAs("nexus_worker");
    for (const backlog of [false, true]) {
      await worker.query("select nexus_engine.drain_outbox(100, 100, $1, pg_catalog.now())", [
        backlog,
      ]);
    }
    await worker.query("select nexus_engine.reconcile(null, $1, pg_catalog.now())", [[tienda]]);
    await worker.query("select nexus_engine.note_horizon()");
    await worker.query("select nexus_engine.roll_up_batch(10, '{}')");
    await worker.query("select nexus_engine.check_stock_batch(null, 10, pg_catalog.now())");
    const api = await db.poolAs("nexus_server").connect();
    await api.query("set role nexus_tienda");
    await api.query("select pg_catalog.set_config('nexus.user_id', $1, false)", [user]);
    await api.query("select nexus_api.sales_summary(), nexus_api.refresh_insights()");
    await assert.rejects(api.query("select nexus_api.dismiss_insight($1)", [tienda]), {
      code: "NX002",
    });
    api.release();
    const { rows } = await db.pool.query("select distinct as_role from public.caught");
    assert.deepEqual(rows, []);

    // They do catch who does not look out.
    await till.query("select now(), '7'::float8, 1 < 2");
    const { rows: careless } = await till.query("select as_role from public.caught order by 1");
    assert.deepEqual(
      careless.map(({ as_role }) => as_role.split(" ").slice(1).join(" ")),
      ["", "", "by a type"],
    );
    await till.end();
  });
});

describe("every function that runs with its owner's rights", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  it("looks for names in Postgres's own schema first, for types among the temporary ones last", async () => {
    const { rows } = await db.pool.query(
      `select f.oid::regproc::text as name from pg_proc f
       where f.pronamespace::regnamespace::text in ('nexus_engine', 'nexus_api', 'graphile_worker') and f.prosecdef
         and not coalesce('search_path=pg_catalog, pg_temp' = any (f.proconfig), false)`,
    );
    // It qualifies every name, see there.
    assert.deepEqual(rows, [{ name: "nexus_engine.on_stock_change" }]);
  });
});
