import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import type { GraphQLField } from "graphql";
import { buildSchema } from "../../src/graphql/server.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, addUser, reconcile } from "../support/fixtures.ts";
import { type Api, startApi } from "./api.ts";
import { requestFor } from "./walk.ts";

/**
 * Every column of the POS's tables, as Postgres lists them, with the worst values that its type can hold: a
 * row each. Whatever is asked, there is an answer.
 */
const long = (type: string) => Math.min(300_000, Number(/\((\d+)\)/.exec(type)?.[1] ?? 300_000));
const nested = (levels: number) => `${"[".repeat(levels)}${"]".repeat(levels)}`;
const instants = ["infinity", "-infinity", "0044-03-15 BC", "4713-01-01 BC", "294276-12-31"];
const worst: Record<string, (type: string) => (string | null)[]> = {
  bool: () => ["true", "false"],
  float8: () => ["NaN", "Infinity", "-Infinity", "1e308", "-1e308", "5e-324", "-0", "1e11", "-1e9"],
  jsonb: () => [
    "null",
    "true",
    "0",
    "1e400",
    '""',
    '"x"',
    "[]",
    "[1]",
    "{}",
    nested(3_000),
    '{"producto_id": null}',
    '{"producto_id": 7}',
    '{"producto_id": "x"}',
    '{"producto_id": ["x"]}',
    '{"": "\\u0001\\ud83d\\ude00\\u2028"}',
    '{"__proto__": {"toString": 1}}',
    JSON.stringify({ producto_id: "x".repeat(300_000) }),
  ],
  timestamp: () => instants,
  timestamptz: () => instants,
  varchar: (type) => [
    "",
    " ",
    "\u0001\t\r\n\u001f\u007f",
    "\u2028\ufeff\u202e😀",
    "%_\\'\"",
    "\ud7ff".repeat(long(type)),
  ],
  // Ids are bound to rows, and look all alike.
  uuid: () => [],
};

type Case = { table: string; column: string; value: string | null };

describe("the worst values that the POS's columns can hold", () => {
  let db: TestDatabase;
  let api: Api;
  let fields: GraphQLField<unknown, unknown>[];
  let cases: Case[];
  before(async () => {
    db = await createTestDatabase();
    api = await startApi(db);
    const query = (await buildSchema(api.pool)).getQueryType();
    fields = Object.values(query?.getFields() ?? {});
    const { rows } = await db.pool.query<{
      table: string;
      column: string;
      name: string;
      type: string;
      nullable: boolean;
    }>(
      `select c.relname as table, a.attname as column, t.typname as name, format_type(t.oid, a.atttypmod) as type, not a.attnotnull as nullable
       from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_type t on t.oid = a.atttypid
       where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
       order by 1, a.attnum`,
    );
    cases = rows.flatMap(({ table, column, name, type, nullable }) => {
      const values = worst[name];
      assert.ok(values, `${table}.${column}: say what is worst of type ${type}`);
      return [...values(type), ...(nullable ? [null] : [])].map((value) => ({
        table,
        column,
        value,
      }));
    });
    const tables = new Set(cases.map(({ table }) => table));
    assert.deepEqual([...tables].sort(), [
      "detalles_venta",
      "insights",
      "productos",
      "tiendas",
      "users",
      "ventas",
    ]);
    assert.ok(cases.length > 150, `${cases.length} cases`);
  });
  after(async () => {
    await api.close();
    await db.drop();
  });

  /** A row like any other of each table; the ids by table. */
  async function addRows(tienda: string): Promise<Record<string, string>> {
    const productos = await addProduct(db.pool, tienda, { stock: 4 });
    const ventas = await addSale(db.pool, tienda, {
      fecha: new Date(Date.now() - 1000),
      lines: [{ productoId: productos, cantidad: 1, precio: 100 }],
    });
    const insights = randomUUID();
    await db.pool.query(
      "insert into public.insights select $1, 'STOCK_BAJO', 'm', 'MEDIA', true, $2, now(), $3",
      [insights, { producto_id: productos }, tienda],
    );
    const line = "select id from public.detalles_venta where venta_id = $1";
    const { rows } = await db.pool.query<{ id: string }>(line, [ventas]);
    return { tiendas: tienda, productos, ventas, insights, detalles_venta: rows[0]?.id ?? "" };
  }

  const spoil = ({ table, column, value }: Case, id: string) =>
    db.pool.query(`update public.${table} set ${column} = $1 where id = $2`, [value, id]);

  /** What is wrong with the answers to the queries of a store, with this id where one is wanted. */
  async function problems(user: string, id: string): Promise<string[]> {
    const found: string[] = [];
    for (const field of fields) {
      const { errors } = await api.ask(user, requestFor("query", field, id, 3));
      found.push(...errors.map(({ message }) => `${field.name}: ${message}`));
    }
    return found;
  }

  /** What fails of these, each tried in a store of its own. */
  async function culprits(all: Case[]): Promise<string[]> {
    const failing: string[] = [];
    for (const each of all) {
      const tienda = await addStore(db.pool);
      const user = await addUser(db.pool, tienda);
      const ids: Record<string, string> = { ...(await addRows(tienda)), users: user };
      await spoil(each, ids[each.table] ?? "");
      const [first] = await problems(user, ids[each.table] ?? "");
      const { table, column, value } = each;
      if (first) failing.push(`${table}.${column} = ${value?.slice(0, 30)}: ${first}`);
      if (failing.length > 2) break;
    }
    return failing;
  }

  for (const table of ["detalles_venta", "insights", "productos", "ventas"]) {
    it(`of ${table}, keep no list from coming, and no insight from being told`, async () => {
      const ofTable = cases.filter((each) => each.table === table);
      const tienda = await addStore(db.pool);
      const user = await addUser(db.pool, tienda);
      const spoilt = await Promise.all(
        ofTable.map(async (each) => {
          const id = (await addRows(tienda))[table] ?? "";
          await spoil(each, id);
          return id;
        }),
      );
      assert.ok(ofTable.length < 100, "more than a page");
      const told = await reconcile(db.pool, [tienda], new Date());
      assert.deepEqual(
        told.filter(({ failed }) => failed > 0),
        [],
      );
      if ((await problems(user, spoilt[0] ?? "")).length > 0)
        assert.deepEqual(await culprits(ofTable), []);
    });
  }

  it("of stores and users, keep nothing from being answered", async () => {
    const ofStores = cases.filter(
      ({ table, column }) => ["tiendas", "users"].includes(table) && column !== "is_active",
    );
    const tienda = fields.find(({ name }) => name === "tienda");
    assert.ok(tienda);
    for (const each of ofStores) {
      const id = await addStore(db.pool);
      const user = await addUser(db.pool, id);
      await spoil(each, each.table === "users" ? user : id);
      const { data, errors } = await api.ask(user, requestFor("query", tienda, id));
      assert.deepEqual([data.tienda.id, errors], [id, []], `${each.table}.${each.column}`);
    }
  });

  it("are shown as null where they are no dates of ours, and the rows with them", async () => {
    const tienda = await addStore(db.pool);
    const user = await addUser(db.pool, tienda);
    for (const at of [...instants, "0001-01-01 00:00Z", "9999-12-31 23:59:59.999999Z"]) {
      const { insights = "" } = await addRows(tienda);
      await spoil({ table: "insights", column: "created_at", value: at }, insights);
    }
    await spoil({ table: "tiendas", column: "created_at", value: "0044-03-15 BC" }, tienda);
    const { data, errors } = await api.ask(
      user,
      "{ tienda { createdAt } insights(orderBy: CREATED_AT_ASC) { nodes { createdAt } } insightStats { total } }",
    );
    assert.deepEqual(errors, []);
    assert.equal(data.tienda.createdAt, null);
    assert.deepEqual(
      data.insights.nodes.map(({ createdAt }: { createdAt: string | null }) => createdAt),
      [
        "0001-01-01T00:00:00.000000+00:00",
        "9999-12-31T23:59:59.999999+00:00",
        ...Array(5).fill(null),
      ],
    );
    assert.equal(data.insightStats.total, 7);
  });
});
