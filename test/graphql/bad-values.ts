import { maxListLength, maxTextLength } from "../../src/graphql/inputs.ts";
import { maxCursorLength } from "../../src/graphql/scalars.ts";

export const words = (count: number) => Array.from({ length: count }, (_, n) => `palabra ${n}`);
const cursor = (length: number) => {
  const filled = (n: number) => Buffer.from(JSON.stringify(["x".repeat(n)])).toString("base64");
  return filled(Math.floor((length * 3) / 4) - 4);
};
export const list = "insights(filter: $f) { totalCount }";
export const patched = (patch: string) =>
  `mutation { updateStoreSettings(input: {patch: ${patch}}) { storeSettings { leadTimeDays } } }`;
export const filtered = (filter: string) => `{ insights(filter: ${filter}) { totalCount } }`;

/** Values of arguments and inputs that are refused, each with the field that it is refused for. */
export const badValues: [about: string, field: string, query: string, variables?: object][] = [
  // Lists, texts and cursors without bound.
  [
    "6,700 orders",
    "orderBy",
    "query ($o: [ProductoOrderBy!]) { productos(orderBy: $o) { edges { cursor } } }",
    { o: Array(6_700).fill("NOMBRE_ASC") },
  ],
  [
    "an order twice",
    "orderBy",
    "{ productos(orderBy: [NOMBRE_ASC, SKU_ASC, NOMBRE_ASC]) { totalCount } }",
  ],
  [
    "many words",
    "filter.tipo.in",
    `query ($f: InsightFilter) { ${list} }`,
    { f: { tipo: { in: words(maxListLength + 1) } } },
  ],
  [
    "many words written",
    "filter.tipo.notIn",
    filtered(`{tipo: {notIn: ${JSON.stringify(words(maxListLength + 1))}}}`),
  ],
  [
    "a long text",
    "filter.sku.equalTo",
    "query ($t: String!) { productos(filter: {sku: {equalTo: $t}}) { totalCount } }",
    { t: "x".repeat(maxTextLength + 1) },
  ],
  [
    "a long time zone",
    "timeZone",
    "mutation ($p: SettingsPatch!) { updateStoreSettings(input: {patch: $p}) { storeSettings { timeZone } } }",
    { p: { timeZone: "x".repeat(90_000) } },
  ],
  [
    "5,000 muted types",
    "mutedTypes",
    "mutation ($p: SettingsPatch!) { updateStoreSettings(input: {patch: $p}) { storeSettings { timeZone } } }",
    { p: { mutedTypes: Array(5_000).fill("STOCK_BAJO") } },
  ],
  [
    "a long cursor",
    "after",
    "query ($c: Cursor) { insights(after: $c) { nodes { id } } }",
    { c: cursor(60_000) },
  ],
  [
    "a long cursor written",
    "after",
    `{ productos(first: 1) { nodes { insights(after: "${cursor(maxCursorLength + 100)}") { nodes { id } } } } }`,
  ],
  // A client's empty variable, which would let everything pass.
  ["null for an operator", "filter.tipo.equalTo", filtered("{tipo: {equalTo: null}}")],
  ["null for a field", "filter.isActive", filtered("{isActive: null}")],
  ["null for a filter", "filter", filtered("null")],
  ["null for a list", "filter.tipo.in", filtered("{tipo: {in: null}}")],
  ["null in a list", "filter.tipo.in", filtered('{tipo: {in: ["STOCK_BAJO", null]}}')],
  ["no operator", "filter.tipo", filtered("{tipo: {}}")],
  [
    "a variable that is null",
    "filter.tipo.equalTo",
    "query ($t: String) { insights(filter: {tipo: {equalTo: $t}}) { totalCount } }",
    { t: null },
  ],
  [
    "a variable without a value",
    "filter.tipo.equalTo",
    "query ($t: String) { insights(filter: {tipo: {equalTo: $t}}) { totalCount } }",
    {},
  ],
  [
    "a field without a value",
    "filter.isActive",
    "query ($a: BooleanFilter) { insights(filter: {isActive: $a}) { totalCount } }",
    {},
  ],
  [
    "null in a variable",
    "filter.isActive.equalTo",
    `query ($f: InsightFilter) { ${list} }`,
    { f: { isActive: { equalTo: null } } },
  ],
  [
    "null in a list of a variable",
    "filter.tipo.in",
    `query ($f: InsightFilter) { ${list} }`,
    { f: { tipo: { in: ["a", null] } } },
  ],
  [
    "null for a variable that is a filter",
    "filter",
    `query ($f: InsightFilter) { ${list} }`,
    { f: null },
  ],
  [
    "nothing in a variable that is a field's",
    "filter.tipo",
    `query ($f: InsightFilter) { ${list} }`,
    { f: { tipo: {} } },
  ],
  [
    "null far below",
    "filter.tipo.equalTo",
    "{ productos { nodes { insights(filter: {tipo: {equalTo: null}}) { totalCount } } } }",
  ],
  // Numbers that are none.
  ...["1e400", "-1e309", "9".repeat(400), `-${"9".repeat(400)}.5`].map(
    (number): [string, string, string] => [
      number.slice(0, 10),
      "filter.stockActual.lessThan",
      `{ productos(filter: {stockActual: {lessThan: ${number}}}) { totalCount } }`,
    ],
  ),
  ["a threshold that overflows", "lowStockThreshold", patched("{lowStockThreshold: 1e309}")],
  [
    "a default that overflows",
    "filter.stockActual.lessThan",
    "query ($n: Float! = 1e400) { productos(filter: {stockActual: {lessThan: $n}}) { totalCount } }",
  ],
  // Written into the document, and beside it.
  ["a bad id", "id", '{ insight(id: "7") { id } }'],
  ["a bad id in a variable", "id", "query ($i: UUID!) { insight(id: $i) { id } }", { i: "7" }],
  ["a missing id in a variable", "id", "query ($i: UUID!) { insight(id: $i) { id } }", {}],
  [
    "a bad instant",
    "filter.createdAt.lessThan",
    '{ insights(filter: {createdAt: {lessThan: "ayer"}}) { totalCount } }',
  ],
  [
    "a bad instant in a variable",
    "filter.createdAt.lessThan",
    "query ($a: Datetime!) { insights(filter: {createdAt: {lessThan: $a}}) { totalCount } }",
    { a: "ayer" },
  ],
  ["a bad number", "leadTimeDays", patched("{leadTimeDays: 1.5}")],
  [
    "a bad number in a variable",
    "leadTimeDays",
    "mutation ($n: Int) { updateStoreSettings(input: {patch: {leadTimeDays: $n}}) { storeSettings { leadTimeDays } } }",
    { n: 1.5 },
  ],
  [
    "a bad number in a variable that is a patch",
    "leadTimeDays",
    "mutation ($p: SettingsPatch!) { updateStoreSettings(input: {patch: $p}) { storeSettings { leadTimeDays } } }",
    { p: { leadTimeDays: "x".repeat(50_000) } },
  ],
  ["an unknown field", "leadTime", patched("{leadTime: 1}")],
  [
    "an unknown field in a variable",
    "leadTime",
    "mutation ($p: SettingsPatch!) { updateStoreSettings(input: {patch: $p}) { storeSettings { leadTimeDays } } }",
    { p: { leadTime: 1 } },
  ],
  [
    "no patch",
    "patch",
    "mutation { updateStoreSettings(input: {}) { storeSettings { leadTimeDays } } }",
  ],
  [
    "no patch in a variable",
    "patch",
    "mutation ($i: UpdateStoreSettingsInput!) { updateStoreSettings(input: $i) { storeSettings { leadTimeDays } } }",
    { i: {} },
  ],
  ["an unknown order", "orderBy", "{ insights(orderBy: [NADA]) { totalCount } }"],
  [
    "an unknown order in a variable",
    "orderBy",
    "query ($o: [InsightOrderBy!]) { insights(orderBy: $o) { totalCount } }",
    { o: ["NADA"] },
  ],
  ["a bad date", "desde", '{ salesByDay(desde: "2026-02-30") { day } }'],
  ["a bad page", "first", "query ($n: Int!) { insights(first: $n) { totalCount } }", { n: 101 }],
];
