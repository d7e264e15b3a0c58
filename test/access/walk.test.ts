import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { GraphQLField, GraphQLSchema } from "graphql";
import { buildSchema } from "../../src/graphql/server.ts";
import { type Api, startApi } from "../graphql/api.ts";
import { connect } from "../graphql/subscriber.ts";
import { asksForId, leaves, requestFor } from "../graphql/walk.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, addUser, idsOf, reconcile } from "../support/fixtures.ts";

/**
 * Walks the schema, whatever it is, with ids of store A, as everybody who is no active user of it:
 * test/graphql/tenancy.test.ts does so as an ordinary user of another store.
 */
const mark = "SECRETO-A";

type Operation = "query" | "mutation" | "subscription";
type Root = { operation: Operation; field: GraphQLField<unknown, unknown> };

describe("whoever is no active user of the store", () => {
  let db: TestDatabase;
  let api: Api;
  let schema: GraphQLSchema;
  let ids: string[];
  let tienda: string;
  let other: string;
  /** Who asks: a users.id, or nobody; with what each is answered, and closed as a subscriber. */
  let refused: {
    who: string;
    user: string | undefined;
    status: number;
    code: string;
    close: number;
  }[];
  /** Those who are let in, each to another store than A. */
  let strangers: { who: string; user: string }[];

  before(async () => {
    db = await createTestDatabase();
    api = await startApi(db);
    schema = await buildSchema(api.pool);
    tienda = await addStore(db.pool, { nombre: mark });
    const productoId = await addProduct(db.pool, tienda, { nombre: mark, sku: mark, stock: 1 });
    await addSale(db.pool, tienda, {
      fecha: new Date(Date.now() - 26 * 3_600_000),
      lines: [{ productoId, cantidad: 1, precio: 7777.77 }],
    });
    other = await addStore(db.pool);
    await addProduct(db.pool, other, { stock: 1 });
    await reconcile(db.pool, [tienda, other], new Date());
    const user = await addUser(db.pool, tienda);
    await db.pool.query("select nexus_engine.request_refresh($1, $2)", [tienda, user]);

    const operator = await addUser(db.pool, other);
    await db.pool.query("insert into nexus_engine.operator (user_id) values ($1)", [operator]);
    const idleOperator = await addUser(db.pool, tienda, { isActive: false });
    await db.pool.query("insert into nexus_engine.operator (user_id) values ($1)", [idleOperator]);
    const closed = await addStore(db.pool, { isActive: false });
    const [code, close] = ["USER_INACTIVE", 4403];
    refused = [
      { who: "nobody", user: undefined, status: 401, code: "UNAUTHENTICATED", close: 4401 },
      { who: "an unknown user", user: tienda, status: 401, code: "UNAUTHENTICATED", close: 4401 },
      {
        who: "an inactive user of the store",
        user: await addUser(db.pool, tienda, { isActive: false }),
        status: 403,
        code,
        close,
      },
      { who: "an operator who is inactive", user: idleOperator, status: 403, code, close },
      {
        who: "a user of a closed store",
        user: await addUser(db.pool, closed),
        status: 403,
        code: "STORE_INACTIVE",
        close,
      },
    ];
    strangers = [
      { who: "an operator", user: operator },
      { who: "an admin of another store", user: await addUser(db.pool, other, { rol: "admin" }) },
    ];
    ids = await idsOf(db.pool, tienda);
  });
  after(async () => {
    await api.close();
    await db.drop();
  });

  function roots(operation: Operation): Root[] {
    const type = {
      query: schema.getQueryType(),
      mutation: schema.getMutationType(),
      subscription: schema.getSubscriptionType(),
    }[operation];
    const fields = Object.values(type?.getFields() ?? {});
    assert.ok(fields.length > 1, operation);
    return fields.map((field) => ({ operation, field }));
  }

  const requests = ({ operation, field }: Root) =>
    (asksForId(field) ? ids : ["none"]).map((id) => requestFor(operation, field, id));

  const ofA = (value: unknown) =>
    leaves(value).filter((leaf) => {
      const text = String(leaf);
      return text.includes(mark) || text.includes("7777.77") || ids.includes(text);
    });

  /** Everything of the store, in whichever table; updated_at and the like included. */
  async function state(): Promise<string> {
    const { rows: tables } = await db.pool.query<{ name: string }>(
      `select a.attrelid::regclass::text as name from pg_attribute a join pg_class c on c.oid = a.attrelid
       where c.relkind = 'r' and c.relnamespace::regnamespace::text in ('public', 'nexus_engine') and a.attname = 'tienda_id'`,
    );
    assert.ok(tables.length >= 8);
    const { rows } = await db.pool.query(
      `${tables.map(({ name }) => `select md5(string_agg(t::text, '|' order by t::text)) from ${name} t where tienda_id = $1`).join(" union all ")}
       union all select count(*)::text from graphile_worker._private_jobs where payload::text like '%' || $1 || '%'`,
      [tienda],
    );
    return JSON.stringify(rows);
  }

  it("is turned away from every query and mutation with a status and a code, and changes nothing", async () => {
    const before = await state();
    let asked = 0;
    for (const { who, user, status, code } of refused) {
      for (const root of [...roots("query"), ...roots("mutation")]) {
        for (const request of requests(root)) {
          const answer = await api.ask(user, request);
          assert.deepEqual(
            [answer.status, answer.code, answer.data, ofA(answer.errors)],
            [status, code, null, []],
            `${who}: ${root.field.name}`,
          );
          asked += 1;
        }
      }
    }
    assert.ok(asked > 5 * 15, `${asked} asked`);
    assert.equal(await state(), before);
  });

  it("is turned away from every subscription with a close code, and receives nothing", async () => {
    for (const { who, user, close } of refused) {
      for (const root of roots("subscription")) {
        const subscriber = await connect(api, user ?? { params: {} });
        const subscriptions = requests(root).map((request) => subscriber.subscribe(request));
        assert.equal((await subscriber.closed).code, close, `${who}: ${root.field.name}`);
        for (const subscription of subscriptions) assert.deepEqual(subscription.received, []);
      }
    }
  });

  it("sees and changes nothing of the store as an operator or as an admin of another", async () => {
    const before = await state();
    for (const { who, user } of strangers) {
      for (const root of [...roots("query"), ...roots("mutation")]) {
        for (const request of requests(root)) {
          const { data, code, errors } = await api.ask(user, request);
          assert.deepEqual(ofA(data), [], `${who}: ${root.field.name}`);
          assert.ok(code === undefined || code === "NOT_FOUND", `${who}: ${errors[0]?.message}`);
        }
      }
    }
    assert.equal(await state(), before);
  });

  it("receives nothing of the store by any subscription as an operator or as an admin of another", async () => {
    // What the mutations above muted and dismissed.
    for (const table of ["store_settings", "open_insight"]) {
      await db.pool.query(`delete from nexus_engine.${table} where tienda_id = $1`, [other]);
    }
    for (const { who, user } of strangers) {
      const subscriber = await connect(api, user);
      const subscriptions = roots("subscription")
        .flatMap(requests)
        .map((request) => subscriber.subscribe(request));
      for (const subscription of subscriptions) await subscription.next();
      const own = subscriber.subscribe("subscription { insightChanged { refetch } }");
      await own.next();
      await db.pool.query(
        "update public.productos set stock_actual = 2 + stock_actual where tienda_id in ($1, $2)",
        [tienda, other],
      );
      await db.pool.query(
        "update nexus_engine.refresh_request set queued_at = now() where tienda_id = $1",
        [tienda],
      );
      await reconcile(db.pool, [tienda, other], new Date());
      assert.ok(await own.next(), "the own store was silent");
      await sleep(50);
      for (const { received } of subscriptions) assert.deepEqual(ofA(received), [], who);
      subscriber.close();
    }
  });
});
