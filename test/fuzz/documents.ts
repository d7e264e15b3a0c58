import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type DocumentNode,
  type FieldNode,
  FieldsOnCorrectTypeRule,
  type GraphQLInputType,
  type GraphQLObjectType,
  type GraphQLSchema,
  getIntrospectionQuery,
  getNamedType,
  getNullableType,
  isEnumType,
  isInputObjectType,
  isListType,
  isObjectType,
  isRequiredArgument,
  parse,
  validate,
} from "graphql";
import { buildSchema } from "../../src/graphql/server.ts";
import { fuzz, type Target } from "./target.ts";
import { anything, dates, ids, instants, numbers, texts, times } from "./values.ts";

/** A document of random choices: every field, argument and directive there is, with values good and bad. */
function writeDocument(schema: GraphQLSchema, target: Target, choose: fc.GeneratorValue): string {
  const chance = (percent: number) => choose(fc.integer, { min: 0, max: 99 }) < percent;
  const oneOf = <T>(values: readonly T[]): T =>
    values[choose(fc.nat, { max: values.length - 1 })] as T;
  const scalars: Record<string, fc.Arbitrary<unknown>> = {
    Int: numbers.map((n) => (Number.isInteger(n) ? n : 1)),
    Float: numbers,
    String: texts,
    Boolean: fc.boolean(),
    UUID: ids(target),
    Date: dates,
    Datetime: instants,
    Time: times,
    Cursor: texts.map((text) => Buffer.from(JSON.stringify([text])).toString("base64")),
  };
  const decent: Record<string, readonly unknown[]> = {
    Int: [0, 1, 5],
    Float: [0, 2.5],
    String: ["STOCK_BAJO", "mío", "efectivo", ""],
    Boolean: [true, false],
    UUID: [target.tienda, target.foreign[0]],
    Date: ["2026-01-01", "2024-02-29"],
    Datetime: ["2026-01-01T00:00:00Z"],
    Time: ["20:00"],
    Cursor: [],
  };
  const quoted = (value: unknown) => JSON.stringify(value) ?? "null";
  const literal = (given: GraphQLInputType, depth: number): string => {
    if (chance(1))
      return oneOf([
        "null",
        "$v",
        "ENUM",
        "{}",
        "[]",
        "1e400",
        "-1",
        "99999999999999999999",
        '"""bloque"""',
        '"\\u0000"',
        "true",
        "[[1]]",
      ]);
    const type = getNullableType(given);
    if (isListType(type))
      return `[${Array.from({ length: choose(fc.nat, { max: 3 }) }, () => literal(type.ofType, depth)).join(", ")}]`;
    if (isEnumType(type)) return oneOf(type.getValues()).name;
    if (isInputObjectType(type)) {
      const fields = Object.values(type.getFields()).filter(() => depth > 0 && chance(60));
      return `{${fields.map((field) => `${field.name}: ${literal(field.type, depth - 1)}`).join(", ")}}`;
    }
    const { name } = getNamedType(type);
    const values = decent[name] ?? [];
    const wild = values.length === 0 || chance(25);
    const value = wild ? choose(() => scalars[name] ?? anything) : oneOf(values);
    return typeof value === "object" ? "{}" : quoted(value);
  };
  const directives = () => {
    if (chance(4)) return oneOf(["@include(if: true)", "@skip(if: $b)", "@include(if: $b)"]);
    if (!chance(1)) return "";
    return Array.from({ length: 1 + choose(fc.nat, { max: 3 }) }, () =>
      oneOf([
        "@include(if: true)",
        "@skip(if: $b)",
        "@include(if: $b)",
        "@skip(if: null)",
        "@stream(initialCount: 1)",
        "@defer",
        "@nada",
        "@deprecated",
        "@include",
      ]),
    ).join(" ");
  };
  const selection = (type: GraphQLObjectType, depth: number): string => {
    const all = Object.values(type.getFields());
    const chosen = Array.from({ length: 1 + choose(fc.nat, { max: 3 }) }, () => oneOf(all));
    const written = chosen.map((field, n) => {
      const inner = getNamedType(field.type);
      if (isObjectType(inner) && depth === 0) return "__typename";
      const args = field.args
        .filter(
          (argument) => isRequiredArgument(argument) || chance(argument.name === "after" ? 5 : 40),
        )
        .map((argument) => `${argument.name}: ${literal(argument.type, 3)}`);
      const alias = chance(80) ? `a${n}: ` : "";
      const below = isObjectType(inner) ? ` ${selection(inner, depth - 1)}` : "";
      return `${alias}${field.name}${args.length > 0 ? `(${args.join(", ")})` : ""} ${directives()}${below}`;
    });
    if (chance(2)) written.push(oneOf(["...F", "nada", "... on Query { __typename }"]));
    if (chance(10))
      written.push(oneOf(["... { __typename }", `... on ${type.name} { __typename }`]));
    return `{ ${written.join(" ")} }`;
  };
  const operation = oneOf([
    "query",
    "query",
    "query",
    "mutation",
    "mutation",
    "subscription",
  ] as const);
  const root = {
    query: schema.getQueryType(),
    mutation: schema.getMutationType(),
    subscription: schema.getSubscriptionType(),
  }[operation];
  const written = selection(root as GraphQLObjectType, 4);
  // What is declared and not used is refused before anything is looked at.
  const declared = [
    ...(written.includes("$b") ? [oneOf(["$b: Boolean = true", "$b: Boolean!"])] : []),
    ...(written.includes("$v") ? [oneOf(["$v: String", "$v: Int", "$v: [SettingsPatch!]"])] : []),
  ];
  const variables = declared.length > 0 ? `(${declared.join(", ")})` : "";
  const fragment = written.includes("...F")
    ? ` fragment F on Query { ${oneOf(["__typename", "...F", "tienda { id }", "...G"])} }`
    : "";
  return `${operation} N${variables} ${written}${fragment}`;
}

const times100 = (count: number, text: (n: number) => string) =>
  Array.from({ length: count }, (_, n) => text(n)).join(" ");
/** What others have been brought down with. Fields are the schema's, or `misnamed`. */
const known: string[] = [
  "{ tienda { id nombre } storeSettings { timeZone countedPendingMethods } insightStats { total byTipo { key count } } stockSummary { activeProductos } }",
  "{ productos(first: 100) { totalCount nodes { id nombre sku stockActual insights(first: 10) { nodes { id mensaje extraData } } } } }",
  "{ insights(first: 100) { totalCount nodes { id tipo mensaje producto { id nombre } } } }",
  '{ productos(filter: {nombre: {includesInsensitive: "a"}}) { nodes { nombre } } }',
  "{ topProductos { nombre units } profitability { nombre units } }",
  "subscription ($b: Boolean!) { insightChanged @skip(if: $b) { refetch } }",
  "",
  " ",
  "#",
  "\ufeff{ __typename }",
  "{",
  "}",
  "{}",
  "{ }",
  "query",
  "null",
  "[]",
  "{ __typename",
  '{ a(b: "',
  '{ a(b: """',
  '{ a(b: "\\u',
  "query Q",
  "fragment F on Query { __typename }",
  "{ __typename } { __typename }",
  "query A { __typename } query A { __typename }",
  "query A { __typename } mutation B { clearInsights { deleted } }",
  "subscription { insightChanged { refetch } }",
  "schema { query: Query }",
  "type Query { a: Int }",
  "extend type Query { a: Int }",
  `{ ${times100(5000, () => "__typename")} }`,
  `{ ${times100(600, (n) => `a${n}: __typename`)} }`,
  `{ ${times100(600, (n) => `a${n}: tienda { id }`)} }`,
  `{ ${"a{".repeat(20_000)}`,
  `{ insights { nodes { ${"producto{insights{nodes{".repeat(50)} id ${"}}}".repeat(50)} } } }`,
  `{ insights(filter: ${"{isActive:".repeat(5000)}1${"}".repeat(5000)}) { totalCount } }`,
  `{ insights(filter: {tipo: {in: ${"[".repeat(9000)}${"]".repeat(9000)}}}) { totalCount } }`,
  `{ __typename ${times100(500, () => "@include(if: true)")} }`,
  `{ __typename ${times100(2000, () => "@nada")} }`,
  `{ ${times100(100, () => "...F")} } fragment F on Query { ${times100(100, () => "__typename")} }`,
  `{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }`,
  "{ ...F } fragment F on Query { ...F ...F }",
  `{ ...F0 } ${times100(300, (n) => `fragment F${n} on Query { ...F${n + 1} ...F${n + 1} }`)} fragment F300 on Query { __typename }`,
  `query (${times100(2000, (n) => `$v${n}: Int`)}) { __typename }`,
  `query ($a: Int = ${"9".repeat(5000)}) { insights(first: $a) { totalCount } }`,
  `{ insights(first: ${"9".repeat(400)}) { totalCount } }`,
  "{ insights(first: 1.5) { totalCount } }",
  "{ insights(first: 1e2) { totalCount } }",
  "{ insights(first: -0) { totalCount } }",
  '{ productos(filter: {nombre: {equalTo: "\\u0000"}}) { totalCount } }',
  '{ productos(filter: {nombre: {includesInsensitive: "\\uD800"}}) { totalCount } }',
  `{ productos(filter: {nombre: {includesInsensitive: "${"%_".repeat(5000)}"}}) { totalCount } }`,
  '{ salesByDay(desde: "0001-01-01", hasta: "9999-12-31") { total } }',
  '{ salesSummary(desde: "0001-01-01", hasta: "9999-12-31") { total } }',
  '{ salesByHour(desde: "0001-01-01", hasta: "9999-12-31") { total } }',
  '{ salesByDay(desde: "2026-12-31", hasta: "2026-01-01") { total } }',
  '{ topProductos(desde: "0001-01-01", hasta: "9999-12-31") { units } }',
  '{ profitability(desde: "9999-12-31", hasta: "9999-12-31") { units } }',
  "{ insights(first: 1) { nodes { id } @stream(initialCount: 0) } }",
  "{ insights(first: 1) { nodes @stream(initialCount: 0) { id } } }",
  "{ tienda { ... @defer { nombre } } }",
  getIntrospectionQuery(),
  `{ __schema { types { ${"fields { type { ".repeat(40)} name ${"} }".repeat(40)} } } }`,
  `{ ${times100(200, (n) => `s${n}: __schema { types { name fields { name args { name } } } }`)} }`,
  `{ __schema { types { fields { type { fields { type { fields { type { name } } } } } } } } }`,
  '{ __type(name: "Insight") { fields { name } } }',
  '{ __type(name: "\\u0000") { name } }',
  "mutation { __typename }",
  `mutation { ${times100(50, (n) => `r${n}: refreshInsights { refreshRequest { id } }`)} }`,
  `mutation { ${times100(99, (n) => `c${n}: clearInsights { deleted }`)} }`,
  "{ \u0000 }",
  "{ __typename \u202e }",
  "{ ñandú }",
  "query ñ { __typename }",
  "{ __typename }\u0000",
  `{ __typename } #${"x".repeat(60_000)}`,
  "{ __proto__ }",
  "{ constructor { name } }",
  "{ toString }",
  "query ($__proto__: Int) { __typename }",
  "query Q($a: Int, $a: Int) { __typename }",
  "query ($a: Query) { __typename }",
  "query ($a: [[[[[Int]]]]]) { __typename }",
];

const misnamed = new Set(["a", "b", "ñandú", "__proto__", "constructor", "toString"]);

/** Fields that `known` names and the schema lacks: such a document would be refused before it can do harm. */
export function unknownFields(schema: GraphQLSchema): string[] {
  return known.flatMap((text) => {
    let document: DocumentNode;
    try {
      document = parse(text);
    } catch {
      return [];
    }
    return validate(schema, document, [FieldsOnCorrectTypeRule])
      .filter(({ nodes }) => !nodes?.some((node) => misnamed.has((node as FieldNode).name.value)))
      .map(({ message }) => message);
  });
}

export async function fuzzDocuments(target: Target, runs: number, seed: number): Promise<void> {
  const schema = await buildSchema(target.api.pool);
  const wrapped = fc.gen().map((choose) => writeDocument(schema, target, choose));
  const variables = fc.oneof(
    { weight: 6, arbitrary: fc.constant<unknown>({ b: true }) },
    { weight: 2, arbitrary: fc.record({ b: anything, v: anything }) },
    { weight: 1, arbitrary: anything },
    {
      weight: 1,
      arbitrary: fc.constantFrom<unknown>(
        { b: true, v: "x".repeat(90_000) },
        { b: true, ["__proto__"]: { b: 1 } },
        { b: true, v: Array(20_000).fill("a") },
      ),
    },
  );
  const ask = async (query: string, values?: unknown, more: object = {}) => {
    const { code, status, errors } = await target.post(
      "documents",
      JSON.stringify({ query, variables: values, ...more }),
    );
    assert.ok(code !== "TIMEOUT", JSON.stringify([status, errors, query]));
  };
  for (const query of known) await ask(query);
  for (const more of [
    { operationName: "A" },
    { operationName: "" },
    { operationName: "__proto__" },
    { operationName: "x".repeat(9000) },
    { extensions: { persistedQuery: { version: 1 } } },
    { id: "x", documentId: "y" },
  ]) {
    await ask("query A { __typename } query B { __typename }", {}, more);
  }
  const input = fc.record({
    query: fc.oneof(
      { weight: 9, arbitrary: wrapped },
      { weight: 1, arbitrary: fc.constantFrom(...known) },
    ),
    values: variables,
  });
  await fuzz(input, runs, seed, ({ query, values }) => ask(query, values));
}

/** Bodies that are no requests, and requests that are hardly bodies. */
export async function fuzzBodies(target: Target, runs: number, seed: number): Promise<void> {
  const good = JSON.stringify({ query: "{ __typename }" });
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    fc
      .tuple(fc.nat({ max: good.length }), fc.uint8Array({ minLength: 1, maxLength: 4 }))
      .map(([at, some]) =>
        Buffer.concat([Buffer.from(good.slice(0, at)), some, Buffer.from(good.slice(at))]),
      ),
    fc.json().map((text) => Buffer.from(text)),
    fc
      .record(
        {
          query: anything,
          variables: anything,
          operationName: anything,
          extensions: anything,
          onError: anything,
        },
        { requiredKeys: [] },
      )
      .map((body) => Buffer.from(JSON.stringify(body))),
    fc
      .constantFrom(
        "[".repeat(50_000),
        `{"query":${"[".repeat(50_000)}`,
        '{"query":"{ __typename }","query":1}',
        `{"a":${'{"a":'.repeat(9000)}`,
        `{"query":"${"\\u0000".repeat(9000)}"}`,
      )
      .map((text) => Buffer.from(text)),
  );
  const headers = fc.oneof(
    { weight: 4, arbitrary: fc.constant<Record<string, string>>({}) },
    {
      weight: 1,
      arbitrary: fc.record({
        "content-type": fc.constantFrom(
          "application/json; charset=utf-16",
          "application/json;",
          "text/plain",
          "application/x-www-form-urlencoded",
          "application/graphql",
          "a/b/c",
          "application/jsonx",
        ),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        accept: fc.constantFrom(
          "*/*",
          "text/html",
          "application/json",
          "application/json;q=0",
          ";;;",
          "multipart/mixed",
          "text/event-stream, application/json",
        ),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        "content-encoding": fc.constantFrom("gzip", "br", "identity", "deflate, gzip", "x"),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        authorization: fc.constantFrom(
          "",
          "Bearer",
          "Bearer  ",
          "Basic eDp5",
          "Bearer a.b.c",
          `Bearer ${"x".repeat(8000)}`,
          "Bearer ñ",
        ),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        "x-request-id": fc.constantFrom("ok-12345678", "'; drop", "{{x}}", "a".repeat(500)),
        "x-http-method-override": fc.constant("GET"),
        "x-forwarded-for": fc.constant("127.0.0.1"),
      }),
    },
  );
  await fuzz(fc.record({ bytes, headers }), runs, seed, async ({ bytes, headers }) => {
    await target.post("bodies", bytes, headers);
  });
}
