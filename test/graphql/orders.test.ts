import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import { type GraphQLEnumType, getNamedType, isEnumType } from "graphql";
import { buildSchema } from "../../src/graphql/server.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, addUser } from "../support/fixtures.ts";
import { holdsAlways } from "../support/property.ts";
import { type Api, startApi } from "./api.ts";

/** Values that repeat, that are extreme, and that are no values at all; many rows of each. */
const texts = ["a", "A", "á", "b", "", " ", "Ñandú", "\u0001", "%", "zz"];
const numbers = ["0", "-0", "1", "2.5", "0.30000000000000004", "8e-17", "-3", "999999999", "1e9"];
const noNumbers = ["NaN", "Infinity", "-Infinity", "1e300"];
const instants = ["2026-11-24 12:00:00.000001Z", "2026-11-24 12:00Z", "0001-01-01 00:00Z"];
const noInstants = ["infinity", "-infinity", "0044-03-15 00:00Z BC", "294276-12-31 00:00Z"];
const urgencies = ["CRITICA", "ALTA", "MEDIA", "BAJA", "RARA"];
const pick = (...values: string[]) => fc.constantFrom(...values);

type Row = { id: string } & Record<string, unknown>;
/** By what a value of an order sorts: a field, and whether the greatest comes first. */
type Key = { of: (row: Row) => string | number | null; descending: boolean };

describe("every order of a list", () => {
  let db: TestDatabase;
  let api: Api;
  const orders: Record<string, string[]> = {};
  before(async () => {
    db = await createTestDatabase();
    api = await startApi(db);
    const schema = await buildSchema(api.pool);
    for (const field of Object.values(schema.getQueryType()?.getFields() ?? {})) {
      const type = field.args.find(({ name }) => name === "orderBy")?.type;
      const named = type && getNamedType(type);
      if (isEnumType(named)) {
        orders[field.name] = (named as GraphQLEnumType).getValues().map(({ name }) => name);
      }
    }
  });
  after(async () => {
    await api.close();
    await db.drop();
  });

  const owner = async () => {
    const tienda = await addStore(db.pool);
    return { tienda, user: await addUser(db.pool, tienda) };
  };
  const ask = async (user: string, query: string, variables = {}) => {
    const { data, errors } = await api.ask(user, query, variables);
    assert.deepEqual(errors, [], query);
    return data;
  };

  /** How Postgres sorts texts. */
  async function textRanks(): Promise<Map<string, number>> {
    const { rows } = await db.pool.query<{ text: string }>(
      "select t as text from unnest($1::text[]) t order by t",
      [texts],
    );
    return new Map(rows.map(({ text }, i) => [text, i]));
  }

  async function keysOf(order: string): Promise<Key[]> {
    if (order === "URGENCIA") {
      return [
        { of: (row) => urgencies.indexOf(String(row["nivelUrgencia"])), descending: false },
        ...(await keysOf("CREATED_AT_DESC")),
      ];
    }
    const [, name = "", direction] = /^(.*)_(ASC|DESC)$/.exec(order) ?? [];
    const field = name.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
    const ranks = await textRanks();
    const isText = ["nombre", "sku"].includes(field);
    return [
      {
        of: (row) => {
          const value = row[field] as string | number | null;
          assert.notEqual(value, undefined, `${order}: not asked for`);
          return isText ? (ranks.get(String(value)) ?? null) : value;
        },
        descending: direction === "DESC",
      },
    ];
  }

  /** Before zero when `a` comes first. */
  function compare(keys: Key[], a: Row, b: Row, idDescending = false): number {
    for (const { of, descending } of keys) {
      const [x, y] = [of(a), of(b)];
      if (x === y) continue;
      if (x === null || y === null) return x === null ? 1 : -1;
      return x < y !== descending ? -1 : 1;
    }
    return a.id < b.id !== idDescending ? -1 : 1;
  }

  async function checkPages(
    user: string,
    page: (args: string) => string,
    take: (data: Record<string, never>) => {
      nodes: Row[];
      pageInfo: { hasNextPage: boolean; endCursor: string };
    },
    ids: string[],
    chosen: string[],
    size: number,
  ) {
    const seen: Row[] = [];
    let after: string | null = null;
    for (let more = true; more; ) {
      const query: string = page(`first: ${size}, after: $after, orderBy: [${chosen.join(", ")}]`);
      const { nodes, pageInfo } = take(await ask(user, query, { after }));
      seen.push(...nodes);
      more = pageInfo.hasNextPage;
      after = pageInfo.endCursor;
      assert.ok(seen.length <= ids.length, `${chosen}, ${size} a page: more rows than there are`);
    }
    assert.deepEqual(seen.map(({ id }) => id).sort(), ids.toSorted(), `${chosen}, ${size} a page`);
    const keys = (await Promise.all(chosen.map(keysOf))).flat();
    // The ids go as the first order does, but for URGENCIA, which brings its own.
    const idDescending = !chosen.includes("URGENCIA") && chosen[0]?.endsWith("_DESC");
    assert.deepEqual(
      seen,
      seen.toSorted((a, b) => compare(keys, a, b, idDescending)),
      `${chosen}, ${size} a page`,
    );
  }

  /** One or two of them, never the same twice. */
  const some = (names: string[]) => fc.uniqueArray(pick(...names), { minLength: 1, maxLength: 2 });
  const pageInfo = "pageInfo { hasNextPage endCursor }";

  it("of productos gives each once, the usable first, whatever the size of a page", async (t) => {
    const names = orders["productos"] ?? [];
    assert.ok(names.includes("STOCK_ACTUAL_DESC"));
    const product = fc.tuple(pick(...texts), pick(...texts), pick(...numbers, ...noNumbers));
    const property = fc.asyncProperty(
      fc.array(product, { minLength: 1, maxLength: 15 }),
      some(names),
      fc.integer({ min: 1, max: 6 }),
      async (products, chosen, size) => {
        const { tienda, user } = await owner();
        const ids = await Promise.all(
          products.map(([nombre, sku, stock]) =>
            addProduct(db.pool, tienda, {
              nombre,
              sku,
              stock,
              precioVenta: stock,
              precioCosto: stock,
            }),
          ),
        );
        await checkPages(
          user,
          (args) =>
            `query ($after: Cursor) { productos(${args}) { nodes { id nombre sku stockActual } ${pageInfo} } }`,
          (data) => data["productos"] as never,
          ids,
          chosen,
          size,
        );
      },
    );
    await holdsAlways(t, property, 2, { shrink: true });
  });

  it("of insights, of the store and of a product, the same", async (t) => {
    const names = orders["insights"] ?? [];
    assert.ok(names.includes("URGENCIA"));
    const insight = fc.tuple(pick(...urgencies), pick(...instants, ...noInstants));
    const property = fc.asyncProperty(
      fc.array(insight, { minLength: 1, maxLength: 15 }),
      some(names),
      fc.integer({ min: 1, max: 6 }),
      async (insights, chosen, size) => {
        const { tienda, user } = await owner();
        const producto = await addProduct(db.pool, tienda);
        const { rows } = await db.pool.query<{ id: string }>(
          `insert into public.insights (id, tienda_id, tipo, mensaje, nivel_urgencia, is_active, extra_data, created_at)
           select gen_random_uuid(), $1, 'STOCK_BAJO', 'm', n, true, jsonb_build_object('producto_id', $2::text), at::timestamptz
           from unnest($3::text[], $4::text[]) u (n, at) returning id`,
          [tienda, producto, insights.map(([nivel]) => nivel), insights.map(([, at]) => at)],
        );
        const ids = rows.map(({ id }) => id);
        const fields = `nodes { id nivelUrgencia createdAt } ${pageInfo}`;
        await checkPages(
          user,
          (args) => `query ($after: Cursor) { insights(${args}) { ${fields} } }`,
          (data) => data["insights"] as never,
          ids,
          chosen,
          size,
        );
        await checkPages(
          user,
          (args) =>
            `query ($after: Cursor) { producto(id: "${producto}") { insights(${args}) { ${fields} } } }`,
          (data) => (data["producto"] as unknown as { insights: never }).insights,
          ids,
          chosen,
          size,
        );
      },
    );
    await holdsAlways(t, property, 2, { shrink: true });
  });

  it("of products sold is the same for each size of a page, with the unusable last", async () => {
    const { tienda, user } = await owner();
    const costs = ["60", "60", "NaN", "Infinity", "-Infinity", "1e300", "0", "60", "NaN"];
    for (const [n, precioCosto] of costs.entries()) {
      const nombre = texts[n % 3] as string;
      const productoId = await addProduct(db.pool, tienda, { nombre, precioCosto });
      for (const cantidad of [1 + (n % 2), Number.NaN]) {
        const lines = [{ productoId, cantidad, precio: 100 }];
        await addSale(db.pool, tienda, { fecha: new Date(Date.now() - 1000), total: 100, lines });
      }
    }
    const fields = {
      topProductos: "units revenue",
      profitability: "units grossProfit marginPercent",
    };
    const column: Record<string, string> = {
      UNITS: "units",
      REVENUE: "revenue",
      PROFIT: "grossProfit",
      MARGIN: "marginPercent",
    };
    const ranks = await textRanks();
    for (const [list, more] of Object.entries(fields)) {
      for (const order of orders[list] ?? []) {
        const rowsOf = async (first: number): Promise<Row[]> =>
          (
            await ask(
              user,
              `{ ${list}(first: ${first}, orderBy: ${order}) { id: productoId nombre ${more} } }`,
            )
          )[list];
        const all = await rowsOf(100);
        assert.equal(all.length, costs.length, order);
        const keys: Key[] = [
          { of: (row) => row[column[order] ?? ""] as number | null, descending: true },
          { of: (row) => ranks.get(String(row["nombre"])) ?? null, descending: false },
        ];
        assert.deepEqual(
          all,
          all.toSorted((a, b) => compare(keys, a, b)),
          `${list} ${order}`,
        );
        for (const first of [1, 4, 8]) assert.deepEqual(await rowsOf(first), all.slice(0, first));
      }
    }
  });

  it("is one of those above", () => {
    assert.deepEqual(Object.keys(orders).sort(), [
      "insights",
      "productos",
      "profitability",
      "topProductos",
    ]);
  });
});
