import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { GraphQLField, GraphQLSchema } from "graphql";
import { buildSchema } from "../../src/graphql/server.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, addUser, idsOf, reconcile } from "../support/fixtures.ts";
import { type Answer, type Api, startApi } from "./api.ts";
import { connect } from "./subscriber.ts";
import { asksForId, leaves, requestFor } from "./walk.ts";

/**
 * Walks the schema, whatever it is, as store A and as store B, with ids of store A for arguments.
 * All that is A's bears a mark: SECRETO-A in texts, multiples of 7777.77 in amounts.
 */
const mark = "SECRETO-A";
const amount = 7777.77;

type Root = {
  operation: "query" | "mutation" | "subscription";
  field: GraphQLField<unknown, unknown>;
};

describe("a token of another store", () => {
  let db: TestDatabase;
  let api: Api;
  let schema: GraphQLSchema;
  let a: { tienda: string; user: string; ids: string[] };
  let b: { tienda: string; user: string };

  before(async () => {
    db = await createTestDatabase();
    api = await startApi(db);
    schema = await buildSchema(api.pool);
    a = await addMarkedStore();
    const tienda = await addStore(db.pool, { nombre: "La otra" });
    const productoId = await addProduct(db.pool, tienda, { stock: 1 });
    b = { tienda, user: await addUser(db.pool, tienda) };
    await addSale(db.pool, tienda, {
      fecha: new Date(Date.now() - 1000),
      lines: [{ productoId, cantidad: 1, precio: 100 }],
    });
    await reconcile(db.pool, [tienda], new Date());
  });
  after(async () => {
    await api.close();
    await db.drop();
  });

  async function addMarkedStore() {
    const { pool } = db;
    const tienda = await addStore(pool, {
      nombre: `${mark} tienda`,
      settings: {
        time_zone: "Asia/Kolkata",
        low_stock_threshold: 77.77,
        counted_pending_methods: [`${mark} efectivo`, "efectivo"],
      },
    });
    const user = await addUser(pool, tienda);
    const lines = [];
    for (const n of [0, 1, 2, 3]) {
      const productoId = await addProduct(pool, tienda, {
        nombre: `${mark} producto ${n}`,
        sku: `${mark}-${n}`,
        stock: n - 1,
        precioVenta: amount,
        precioCosto: amount,
      });
      lines.push({ productoId, cantidad: 1, precio: amount });
    }
    for (const hours of [0.01, 26, 50, 24 * 20]) {
      await addSale(pool, tienda, {
        fecha: new Date(Date.now() - hours * 3_600_000),
        lines,
        metodoPago: `${mark} efectivo`,
      });
    }
    await reconcile(pool, [tienda], new Date());
    await pool.query(
      "insert into public.insights select gen_random_uuid(), $2, $2, 'BAJA', false, null, now(), $1",
      [tienda, mark],
    );
    await pool.query("select nexus_engine.request_refresh($1, $2)", [tienda, user]);
    return { tienda, user, ids: await idsOf(pool, tienda) };
  }

  async function removeA() {
    await db.pool.query(
      "delete from public.detalles_venta where venta_id in (select id from public.ventas where tienda_id = $1)",
      [a.tienda],
    );
    for (const { name, column } of (await tablesOfStores()).reverse()) {
      await db.pool.query(`delete from ${name} where ${column} = $1`, [a.tienda]);
    }
    await db.pool.query("delete from graphile_worker._private_jobs");
  }

  const roots = (operation: Root["operation"]): Root[] => {
    const type = {
      query: schema.getQueryType(),
      mutation: schema.getMutationType(),
      subscription: schema.getSubscriptionType(),
    }[operation];
    const fields = Object.values(type?.getFields() ?? {});
    assert.ok(fields.length > 0);
    return fields.map((field) => ({ operation, field }));
  };

  /** One answer for each of A's ids, or one if the field asks for none. */
  async function answers(user: string, { operation, field }: Root): Promise<Answer[]> {
    const ids = asksForId(field) ? a.ids : ["none"];
    return Promise.all(ids.map((id) => api.ask(user, requestFor(operation, field, id))));
  }

  const isOfA = (value: unknown) =>
    typeof value === "number"
      ? value !== 0 && (Math.round(value * 100) % 777_777 === 0 || Math.abs(value) === 77.77)
      : String(value).includes(mark) || a.ids.includes(String(value));

  /** The tables with rows of a store, the stores themselves first. */
  async function tablesOfStores() {
    const { rows } = await db.pool.query<{ name: string; column: string }>(
      `select c.oid::regclass::text as name, a.attname as column
       from pg_catalog.pg_class c
       join pg_catalog.pg_attribute a on a.attrelid = c.oid
       where c.relkind = 'r' and c.relnamespace::regnamespace::text in ('public', 'nexus_engine')
         and (a.attname = 'tienda_id' or c.oid = 'public.tiendas'::regclass and a.attname = 'id')
       order by c.oid <> 'public.tiendas'::regclass, 1`,
    );
    assert.ok(rows.length >= 8);
    return rows;
  }

  /** A hash of everything that is A's, in whichever table, and its jobs. */
  async function stateOfA(): Promise<string> {
    const tables = await tablesOfStores();
    const hashes = tables.map(
      ({ name, column }) =>
        `select md5(string_agg(t::text, '|' order by t::text)) from ${name} t where t.${column} = $1`,
    );
    const { rows: found } = await db.pool.query(
      `${hashes.join(" union all ")} union all
       select md5(string_agg(d::text, '|' order by d.id)) from public.detalles_venta d join public.ventas v on v.id = d.venta_id where v.tienda_id = $1
       union all select count(*)::text from graphile_worker._private_jobs where payload::text like '%' || $1 || '%'`,
      [a.tienda],
    );
    return JSON.stringify(found);
  }

  it("gets nothing of the store from any query, and changes nothing of it", async () => {
    const before = await stateOfA();
    for (const root of roots("query")) {
      for (const answer of await answers(b.user, root)) {
        assert.deepEqual(answer.errors, [], `${root.field.name} was refused, so nothing was tried`);
        assert.deepEqual(leaves(answer.data).filter(isOfA), [], root.field.name);
      }
    }
    assert.equal(await stateOfA(), before);
  });

  it("is what makes the difference: the store's own finds it in every query", async () => {
    for (const root of roots("query")) {
      const found = (await answers(a.user, root)).flatMap(({ data }) => leaves(data)).filter(isOfA);
      assert.ok(found.length > 0, `${root.field.name} shows no marked value: mark more of store A`);
    }
  });

  it("gets the same answers when the store does not exist at all", async () => {
    const askAll = () =>
      Promise.all(
        roots("query").map(async (root) => (await answers(b.user, root)).map(({ data }) => data)),
      );
    const withA = await askAll();
    await removeA();
    assert.deepEqual(await askAll(), withA);
    a = await addMarkedStore();
  });

  /** What two users receive of a subscription, with each of A's ids, while much happens in both stores. */
  async function received(root: Root) {
    const ids = asksForId(root.field) ? a.ids : ["none"];
    const watch = async (user: string) => {
      const subscriber = await connect(api, user);
      const subscriptions = ids.map((id) =>
        subscriber.subscribe(requestFor("subscription", root.field, id)),
      );
      const end = subscriber.subscribe("subscription { insightChanged { refetch } }");
      for (const subscription of [...subscriptions, end]) await subscription.next();
      return { subscriber, subscriptions, end };
    };
    const users = [await watch(a.user), await watch(b.user)];
    for (const factor of [2, 3]) {
      await db.pool.query(
        "update public.productos set stock_actual = stock_actual + $1 where tienda_id in ($2, $3)",
        [factor, a.tienda, b.tienda],
      );
      await db.pool.query(
        "update nexus_engine.refresh_request set queued_at = now() where tienda_id = $1",
        [a.tienda],
      );
      await reconcile(db.pool, [a.tienda, b.tienda], new Date());
      // What was announced before this has been received.
      for (const { end } of users) assert.ok(await end.next());
      await sleep(50);
    }
    return users.map(({ subscriber, subscriptions }) => {
      subscriber.close();
      const messages = subscriptions.flatMap((subscription) => subscription.received);
      assert.deepEqual(
        messages.flatMap(({ errors }) => errors ?? []),
        [],
        root.field.name,
      );
      return messages.map(({ data }) => data);
    });
  }

  it("receives nothing of the store by any subscription, whose own token receives it by each", async () => {
    for (const root of roots("subscription")) {
      const { name } = root.field;
      const [ofA, ofB] = await received(root);
      assert.deepEqual(leaves(ofB).filter(isOfA), [], name);
      assert.ok(leaves(ofA).some(isOfA), `${name} shows no marked value: mark more of store A`);
      assert.ok(
        (ofA?.length ?? 0) > (asksForId(root.field) ? a.ids.length : 1),
        `${name} is silent`,
      );
    }
  });

  it("gets nothing of the store from any mutation, and changes nothing of it", async () => {
    const before = await stateOfA();
    for (const root of roots("mutation")) {
      for (const { data, code, errors } of await answers(b.user, root)) {
        const { name } = root.field;
        assert.deepEqual(leaves(data).filter(isOfA), [], name);
        assert.ok(code === undefined || code === "NOT_FOUND", `${name}: ${errors[0]?.message}`);
        assert.equal(await stateOfA(), before, name);
      }
    }
  });

  it("is what makes the difference: the store's own changes it with every mutation", async () => {
    for (const root of roots("mutation")) {
      await removeA();
      a = await addMarkedStore();
      const before = await stateOfA();
      await answers(a.user, root);
      assert.notEqual(await stateOfA(), before, root.field.name);
    }
  });
});
