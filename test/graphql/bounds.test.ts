import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { maxListLength, maxTextLength } from "../../src/graphql/inputs.ts";
import { maxAnswerBytes } from "../../src/graphql/price.ts";
import { maxCursorLength } from "../../src/graphql/scalars.ts";
import { signToken } from "../../src/graphql/token.ts";
import { starts, writeBody } from "../bench/answers/documents.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addStore, addUser } from "../support/fixtures.ts";
import { type Answer, type Api, secretKey, startApi } from "./api.ts";
import { badValues, filtered, list, patched, words } from "./bad-values.ts";
import { connect } from "./subscriber.ts";

let db: TestDatabase;
let api: Api;
let tienda: string;
let user: string;
let authorization: string;

before(async () => {
  db = await createTestDatabase();
  api = await startApi(db, { mutationLimits: { user: 1_000, store: 1_000 } });
  tienda = await addStore(db.pool);
  user = await addUser(db.pool, tienda);
  authorization = `Bearer ${await signToken(user, secretKey, 600)}`;
  // Names as long as the POS allows.
  await db.pool.query(
    `insert into public.productos (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
     select gen_random_uuid(), rpad('Producto ' || n, 255, 'ñandú'), rpad('SKU-' || n, 100, 'x'), 100, 60, 50, 'general', true, $1
     from generate_series(1, 100) n`,
    [tienda],
  );
  await db.pool.query(
    `insert into public.insights (id, tipo, mensaje, nivel_urgencia, is_active, extra_data, tienda_id)
     select gen_random_uuid(), 'STOCK_BAJO', 'Te quedan 1 de ' || p.nombre, 'CRITICA', true,
       jsonb_build_object('producto_id', p.id, 'producto_nombre', p.nombre), p.tienda_id
     from public.productos p, generate_series(1, 20)`,
  );
});
after(async () => {
  await api.close();
  await db.drop();
});

const ask = (query: string, variables?: Record<string, unknown>) => api.ask(user, query, variables);
/** A body as text: JSON.stringify knows no 1e400. */
const post = (body: string) => api.post(body, { authorization });

/** BAD_USER_INPUT for this field and at a place in the document, before anything ran, in few words. */
function refusedFor(field: string, answer: Answer, about: string): void {
  const [error] = answer.errors as (Answer["errors"][number] & { locations?: unknown[] })[];
  assert.deepEqual(
    [answer.status, error?.extensions, answer.data],
    [400, { code: "BAD_USER_INPUT", field }, null],
    `${about}\n${error?.message}`,
  );
  assert.equal(error?.locations?.length, 1, about);
  assert.ok((error?.message.length ?? 0) < 500, about);
  assert.match(error?.message ?? "", new RegExp(`^${field.replaceAll(".", "\\.")}(\\[\\d+\\])?: `));
}

describe("a value of an argument or an input", () => {
  it("is refused by the name of its field and its place, in the document and in variables", async () => {
    for (const [about, field, query, variables] of badValues) {
      refusedFor(field, await ask(query, variables as Record<string, unknown>), about);
    }
    const overflowing = (body: string) => post(body.replaceAll('"BIG"', "1e309"));
    refusedFor(
      "filter.stockActual.lessThan",
      await overflowing(
        JSON.stringify({
          query: "query ($f: ProductoFilter) { productos(filter: $f) { totalCount } }",
          variables: { f: { stockActual: { lessThan: "BIG" } } },
        }),
      ),
      "1e309 in a variable",
    );
    refusedFor(
      "lowStockThreshold",
      await overflowing(
        JSON.stringify({
          query:
            "mutation ($p: SettingsPatch!) { updateStoreSettings(input: {patch: $p}) { storeSettings { timeZone } } }",
          variables: { p: { lowStockThreshold: "BIG" } },
        }),
      ),
      "1e309 in a patch",
    );
  });

  it("is taken where it is usable, and may be left out where it is optional", async () => {
    for (const [query, variables] of [
      [`query ($f: InsightFilter) { ${list} }`, {}],
      [`query ($f: InsightFilter = {isActive: {equalTo: true}}) { ${list} }`, {}],
      [filtered("{}"), {}],
      [filtered(`{tipo: {in: ${JSON.stringify(words(maxListLength))}}}`), {}],
      [filtered("{tipo: {in: []}}"), {}],
      ["query ($c: Cursor) { insights(after: $c) { totalCount } }", { c: null }],
      ["query ($c: Cursor) { insights(after: $c) { totalCount } }", {}],
      ["{ productos(orderBy: [NOMBRE_ASC, STOCK_ACTUAL_DESC, SKU_ASC]) { totalCount } }", {}],
      [
        "query ($t: String!) { productos(filter: {sku: {equalTo: $t}}) { totalCount } }",
        { t: "x".repeat(maxTextLength) },
      ],
      [patched("{lowStockThreshold: null}"), {}],
    ] as const) {
      assert.deepEqual((await ask(query, variables)).errors, [], query);
    }
  });

  it("of a cursor that the API gave is never too long, whatever is ordered by", async () => {
    await db.pool.query(
      `insert into public.productos (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
       values (gen_random_uuid(), repeat(E'\\u0001', 255), repeat(E'\\u0002', 100), 100, 60, 1, 'general', true, $1)`,
      [tienda],
    );
    const list =
      "orderBy: [NOMBRE_ASC, NOMBRE_DESC, SKU_ASC, SKU_DESC, STOCK_ACTUAL_ASC, STOCK_ACTUAL_DESC]";
    const first = await ask(`{ productos(first: 1, ${list}) { pageInfo { endCursor } } }`);
    const { endCursor } = first.data.productos.pageInfo;
    assert.ok(endCursor.length > maxCursorLength / 2, String(endCursor.length));
    const next = await ask(
      `query ($c: Cursor) { productos(first: 1, after: $c, ${list}) { nodes { nombre } } }`,
      { c: endCursor },
    );
    assert.deepEqual(next.errors, []);
    assert.match(next.data.productos.nodes[0].nombre, /^Producto/);
  });
});

describe("sets of a store", () => {
  it("have each value once, through the API and from SQL", async () => {
    const { data } = await ask(
      `mutation { updateStoreSettings(input: {patch: {mutedTypes: ["VENTAS_DIARIAS", "STOCK_BAJO", "VENTAS_DIARIAS"], cashMethods: ["vale", "efectivo", "vale"]}})
         { storeSettings { mutedTypes cashMethods } } }`,
    );
    assert.deepEqual(data.updateStoreSettings.storeSettings, {
      mutedTypes: ["VENTAS_DIARIAS", "STOCK_BAJO"],
      cashMethods: ["vale", "efectivo"],
    });
    const other = await addStore(db.pool);
    const { rows } = await db.pool.query(
      `insert into nexus_engine.store_settings (tienda_id, muted_types)
       values ($1, array_fill('STOCK_BAJO'::text, array[100])) returning muted_types, counted_pending_methods`,
      [other],
    );
    assert.deepEqual(rows, [{ muted_types: ["STOCK_BAJO"], counted_pending_methods: null }]);
    await assert.rejects(
      db.pool.query(
        "update nexus_engine.store_settings set muted_types = array_fill('STOCK_BAJO'::text, array[101]) where tienda_id = $1",
        [other],
      ),
      { code: "NX001", column: "muted_types" },
    );
  });
});

describe("an answer", () => {
  const times = (count: number, text: (n: number) => string) =>
    Array.from({ length: count }, (_, n) => text(n)).join(" ");
  const tooMuch: [about: string, query: string][] = [
    [
      "a long alias in many rows",
      `{ productos(first: 100) { nodes { ${"a".repeat(30_000)}: id } } }`,
    ],
    [
      "many aliases in many rows",
      `{ productos(first: 100) { nodes { ${times(400, (n) => `a${n}: nombre`)} } } }`,
    ],
    [
      "cursors of many lists",
      `{ ${times(45, (n) => `a${n}: productos(first: 100, orderBy: [NOMBRE_ASC, SKU_ASC, STOCK_ACTUAL_ASC]) { edges { cursor } }`)} }`,
    ],
    [
      "lists inside of lists",
      "{ productos(first: 100) { nodes { insights(first: 90) { nodes { mensaje extraData } } } } }",
    ],
    [
      "lists without pages",
      `{ ${times(60, (n) => `a${n}: salesByDay(desde: "2024-11-27", hasta: "2026-11-27") { day total }`)} }`,
    ],
    [
      "rows twice",
      "{ productos(first: 100) { nodes { insights(first: 25) { nodes { mensaje extraData } edges { node { mensaje extraData } } } } } }",
    ],
    [
      "what the schema says of itself",
      `{ __schema { types { fields { type { fields { ${times(60, (n) => `a${n}: name`)} } } } } } }`,
    ],
    [
      "that of a type",
      `{ ${times(60, (n) => `a${n}: __type(name: "Query") { fields { name description type { fields { name description } } } }`)} }`,
    ],
  ];

  it("is priced before it is begun, by its rows, lists, names and cursors", async () => {
    for (const [about, query] of tooMuch) {
      const { status, code, data, errors } = await ask(query);
      assert.deepEqual([status, code, data], [400, "QUERY_TOO_COMPLEX", null], about);
      assert.match(errors[0]?.message ?? "", /bytes/, about);
    }
  });

  it("of a document of 100 kB has at most 2 MB, whatever it asks for", async () => {
    let answered = 0;
    for (const genes of starts) {
      const body = writeBody(genes);
      const response = await fetch(`${api.url}/graphql`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization },
        body,
      });
      const bytes = (await response.arrayBuffer()).byteLength;
      assert.ok(body.length <= 100_000 && bytes <= maxAnswerBytes, JSON.stringify([genes, bytes]));
      assert.notEqual(response.status, 500);
      if (response.ok) answered += 1;
    }
    assert.ok(answered > 3, `${answered} were not refused`);
  });

  it("has the first of its errors, however many there are", async () => {
    const { data } = await ask("{ insights(first: 1) { pageInfo { endCursor } } }");
    const cursor = data.insights.pageInfo.endCursor;
    const [digest, ...values] = JSON.parse(Buffer.from(cursor, "base64").toString());
    const forged = JSON.stringify([digest, ...values.map(() => "nada")]);
    const wrong = Buffer.from(forged).toString("base64");
    const fields = times(
      40,
      (n) => `a${n}: insights(first: 1, after: "${wrong}") { nodes { id } }`,
    );
    const { errors } = await ask(`{ ${fields} }`);
    assert.deepEqual([errors.length, errors[0]?.extensions?.code], [20, "BAD_USER_INPUT"]);
    const nothing = await ask(`{ ${times(90, (n) => `${"a".repeat(900)}${n}: nada`)} }`);
    assert.ok(nothing.errors.length <= 20);
  });

  it("is refused when its rows are larger than rows are, over HTTP and in a message", async () => {
    const other = await addStore(db.pool);
    const reader = await addUser(db.pool, other);
    const { rows } = await db.pool.query<{ id: string }>(
      `insert into public.insights (id, tipo, mensaje, nivel_urgencia, is_active, extra_data, tienda_id)
       select gen_random_uuid(), 'NUEVO', 'm', 'ALTA', true, jsonb_build_object('x', repeat('x', 100000)), $1
       from generate_series(1, 30) returning id`,
      [other],
    );
    const { status, code, data } = await api.ask(reader, "{ insights { nodes { extraData } } }");
    assert.deepEqual([status, code, data], [400, "QUERY_TOO_COMPLEX", null]);
    const some = await api.ask(reader, "{ insights(first: 5) { nodes { extraData } } }");
    assert.equal(some.data.insights.nodes.length, 5);

    const subscriber = await connect(api, reader);
    const subscription = subscriber.subscribe(
      "subscription { insightChanged { refetch changes { insight { extraData } } } }",
    );
    try {
      await subscription.next();
      const changed = JSON.stringify({ changed: rows.map(({ id }) => id) });
      await db.pool.query("select pg_notify($1, $2)", [`nexus_store:${other}`, changed]);
      await assert.rejects(subscription.next(), /QUERY_TOO_COMPLEX/);
      const few = JSON.stringify({ changed: [rows[0]?.id] });
      await db.pool.query("select pg_notify($1, $2)", [`nexus_store:${other}`, few]);
      const { changes } = (await subscription.next()).insightChanged;
      assert.equal(changes[0].insight.extraData.x.length, 100_000);
      const priced = subscriber.subscribe(
        `subscription { insightChanged { changes { ${times(90, (n) => `a${n}: insight { extraData }`)} } } }`,
      );
      await assert.rejects(priced.next(), /QUERY_TOO_COMPLEX/);
    } finally {
      subscriber.close();
    }
  });
});

describe("the standard introspection", () => {
  it("is no attack", async () => {
    const { getIntrospectionQuery } = await import("graphql");
    const { errors, data } = await ask(getIntrospectionQuery());
    assert.deepEqual(errors, []);
    assert.ok(JSON.stringify(data).length > 50_000);
  });
});
