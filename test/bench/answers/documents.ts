/** What an attacker may turn; a document that it is written into has at most 100 kB as a body. */
export type Genes = {
  list: keyof typeof lists;
  /** The same list, so many times. */
  aliases: number;
  aliasLength: number;
  first: number;
  /** Values of orderBy, in a variable. */
  orders: number;
  /** Fields of a row, so many times each. */
  repeats: number;
  cursors: boolean;
  /** Rows of a list inside of each row; 0 for none. */
  inner: number;
  /** Of a forged cursor. */
  cursorLength: number;
};

export const lists = {
  insights: { fields: ["id", "mensaje", "extraData"], inner: "", order: "CREATED_AT_DESC" },
  productos: { fields: ["nombre", "sku", "id"], inner: "insights", order: "NOMBRE_ASC" },
  topProductos: { fields: ["nombre", "sku", "productoId"], inner: "", order: "" },
  salesByDay: { fields: ["day", "total", "tickets", "unusableRows"], inner: "", order: "" },
  __schema: { fields: ["name", "description"], inner: "", order: "" },
  errors: { fields: ["id"], inner: "", order: "" },
} as const;

/** What an app asks for. */
export const modest: Genes = {
  list: "insights",
  aliases: 1,
  aliasLength: 3,
  first: 100,
  orders: 0,
  repeats: 1,
  cursors: false,
  inner: 0,
  cursorLength: 0,
};

/** Where the search begins: what has been seen to be bad of each list, and what is just not too much. */
export const starts: Genes[] = [
  { ...modest, list: "productos", aliases: 20, orders: 5_800, cursors: true },
  { ...modest, list: "productos", first: 50, inner: 50, repeats: 10 },
  { ...modest, list: "productos", aliasLength: 20_000 },
  { ...modest, list: "insights", aliases: 20, orders: 5_000, cursors: true },
  { ...modest, list: "insights", repeats: 90 },
  { ...modest, list: "topProductos", repeats: 90 },
  { ...modest, list: "salesByDay", aliases: 90 },
  { ...modest, list: "__schema", aliases: 2, repeats: 10 },
  { ...modest, list: "errors", repeats: 40, cursorLength: 10 },
  { ...modest, list: "errors", aliasLength: 40_000, cursorLength: 10 },
  { ...modest, list: "insights", aliases: 1, cursorLength: 60_000 },
  { ...modest, list: "insights", repeats: 20 },
  { ...modest, list: "productos", inner: 9 },
  { ...modest, list: "productos", aliases: 8, orders: 1, cursors: true },
  { ...modest, list: "topProductos", repeats: 30 },
  { ...modest, list: "__schema", repeats: 5 },
];

/** Whether it may be short enough: nothing enormous is written just to be thrown away. */
export const mayFit = ({ aliases, aliasLength, repeats }: Genes): boolean =>
  aliases * aliasLength * Math.max(1, repeats / 2) < 200_000;

const name = (n: number, length: number) => `${n}`.padStart(length, "a").replace(/^\d/, "a$&");
const times = (count: number, text: (n: number) => string) =>
  Array.from({ length: Math.max(0, Math.round(count)) }, (_, n) => text(n)).join(" ");

/** The body of a request. */
export function writeBody(genes: Genes): string {
  const { list, aliases, aliasLength, first, orders, repeats, inner } = genes;
  const { fields, order } = lists[list];
  const forged = Buffer.from(JSON.stringify(["x".repeat(genes.cursorLength)])).toString("base64");
  const leaf = times(repeats, (n) =>
    fields.map((field) => `${name(n, aliasLength)}${field}: ${field}`).join(" "),
  );
  const nested =
    inner > 0
      ? `i: insights(first: ${inner}) { nodes { ${leaf.replaceAll(/nombre|sku/g, "mensaje")} } }`
      : "";
  const rows = `${genes.cursors ? `edges { cursor node { ${leaf} ${nested} } } pageInfo { startCursor endCursor }` : `nodes { ${leaf} ${nested} }`}`;
  const written: Record<Genes["list"], () => string> = {
    insights: () => connection("insights"),
    productos: () => connection("productos"),
    topProductos: () => `topProductos(first: ${first}) { ${leaf} }`,
    salesByDay: () => `salesByDay(desde: "2024-11-27", hasta: "2026-11-27") { ${leaf} }`,
    __schema: () => `__schema { types { ${leaf} fields { ${leaf} type { fields { ${leaf} } } } } }`,
    errors: () =>
      `productos(first: ${first}) { nodes { ${times(Math.min(repeats, 40), (n) => `${name(n, aliasLength)}: insights(after: $c) { totalCount nodes { id } }`)} } }`,
  };
  const connection = (of: string) =>
    `${of}(first: ${first}${orders > 0 ? ", orderBy: $o" : ""}${genes.cursorLength > 0 ? ", after: $c" : ""}) { ${rows} }`;
  const selection = times(aliases, (n) => `${name(n, aliasLength)}x: ${written[list]()}`);
  const type = list === "insights" ? "InsightOrderBy" : "ProductoOrderBy";
  const declared = [
    ...(selection.includes("$o") ? [`$o: [${type}!]`] : []),
    ...(selection.includes("$c") ? ["$c: Cursor"] : []),
  ];
  return JSON.stringify({
    query: `query${declared.length > 0 ? `(${declared.join(", ")})` : ""} { ${selection} }`,
    variables: {
      ...(selection.includes("$o") && { o: Array(Math.round(orders)).fill(order) }),
      ...(selection.includes("$c") && { c: forged }),
    },
  });
}

const ranges: { [key in keyof Genes]?: readonly number[] } = {
  aliases: [1, 2, 4, 10, 20, 48, 90],
  aliasLength: [3, 30, 150, 600, 2_000, 20_000, 80_000],
  first: [1, 10, 50, 100],
  orders: [0, 1, 6, 100, 1_000, 3_000, 5_800],
  repeats: [1, 3, 10, 30, 90, 150],
  inner: [0, 3, 10, 50, 99],
  cursorLength: [0, 10, 60_000],
};

/** One gene after another, or some at once, set to another value that it can have. */
export function mutate(genes: Genes, random: () => number): Genes {
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
  const changed: Genes = { ...genes };
  do {
    const gene = pick(Object.keys(genes) as (keyof Genes)[]);
    if (gene === "list") changed.list = pick(Object.keys(lists) as Genes["list"][]);
    else if (gene === "cursors") changed.cursors = !changed.cursors;
    else if (random() < 0.5) changed[gene] = pick(ranges[gene] ?? [1]);
    else changed[gene] = Math.ceil(changed[gene] * (0.6 + random()));
  } while (random() < 0.4);
  return changed;
}
