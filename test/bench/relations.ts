import { Pool } from "pg";
import { createPool } from "../../src/database/pools.ts";
import { createLog } from "../../src/log.ts";
import { addStore, addUser, reconcile } from "../support/fixtures.ts";
import { cpuOf } from "./cpu.ts";
import { withBenchDatabase } from "./database.ts";
import { median, milliseconds, printTable, timed } from "./figures.ts";
import { withBenchServer } from "./server.ts";

/**
 * Every field of the schema that follows a relation, lists or counts, of a store with 2,000 and of one with
 * 100,000 insights, each asked alone: `npx node test/bench/relations.ts [rounds]`. CPU is that of the server's
 * process and sessions, without what Postgres gives to parallel workers, and depends less on what else runs.
 */
const rounds = Number(process.argv[2] ?? 15);
const sizes = [
  { insights: 2_000, reach: 10 },
  { insights: 100_000, reach: 50 },
];

const insight = "nodes { id tipo mensaje nivelUrgencia createdAt }";
const product = "nodes { id nombre stockActual }";
const hourAgo = new Date(Date.now() - 3_600_000).toISOString();

/** INSIGHT, PRODUCT, REQUEST and CURSOR stand for those of the store. */
const queries: Record<string, string> = {
  "insights by URGENCIA": `insights(first: 50) { ${insight} }`,
  "insights, the next page": `insights(first: 50, after: "CURSOR") { ${insight} }`,
  "insights by CREATED_AT_DESC": `insights(first: 50, orderBy: CREATED_AT_DESC) { ${insight} }`,
  "insights by CREATED_AT_ASC": `insights(first: 50, orderBy: CREATED_AT_ASC) { ${insight} }`,
  "insights, the active": `insights(first: 50, filter: {isActive: {equalTo: true}}) { ${insight} }`,
  "insights, the archived": `insights(first: 50, filter: {isActive: {equalTo: false}}) { ${insight} }`,
  "insights of a tipo": `insights(first: 50, filter: {tipo: {equalTo: "PRODUCTO_SIN_STOCK"}}) { ${insight} }`,
  "insights of other tipos": `insights(first: 50, filter: {tipo: {notEqualTo: "PRODUCTO_SIN_STOCK"}}) { ${insight} }`,
  "insights of two urgencies": `insights(first: 50, filter: {nivelUrgencia: {in: ["CRITICA", "ALTA"]}}) { ${insight} }`,
  "insights of the last hour": `insights(first: 50, filter: {createdAt: {greaterThan: "${hourAgo}"}}) { ${insight} }`,
  "insights { producto }": "insights(first: 50) { nodes { tipo producto { nombre } } }",
  "insights { totalCount }": "insights { totalCount }",
  insightStats:
    "insightStats { total active archived byTipo { key count } byUrgencia { key count } }",
  "insight { producto }": `insight(id: "INSIGHT") { tipo producto { nombre } }`,
  "producto { insights }": `producto(id: "PRODUCT") { insights { totalCount ${insight} } }`,
  "productos { insights }":
    "productos(first: 50) { nodes { insights(first: 3) { nodes { tipo } } } }",
  "productos { insights { totalCount } }":
    "productos(first: 50) { nodes { insights { totalCount } } }",
  "productos by NOMBRE_ASC": `productos(first: 50) { ${product} }`,
  "productos by SKU_DESC": `productos(first: 50, orderBy: SKU_DESC) { ${product} }`,
  "productos by STOCK_ACTUAL_ASC": `productos(first: 50, orderBy: STOCK_ACTUAL_ASC) { ${product} }`,
  "productos by STOCK_ACTUAL_DESC": `productos(first: 50, orderBy: STOCK_ACTUAL_DESC) { ${product} }`,
  "productos with less stock": `productos(first: 50, filter: {stockActual: {lessThan: 1}}) { ${product} }`,
  "productos with a name": `productos(first: 50, filter: {nombre: {includesInsensitive: "99"}}) { ${product} }`,
  "productos { totalCount }": "productos { totalCount }",
  stockSummary:
    "stockSummary { activeProductos low outOfStock negative valueAtCost valueAtPrice unusableRows }",
  refreshRequest: `refreshRequest(id: "REQUEST") { status counts { tipo inserted } }`,
};

type Shop = { user: string; ids: { INSIGHT: string; PRODUCT: string; REQUEST: string } };

/** A store of which no product is left, half of them at fractions of a kilo below zero, and which was told so. */
async function open(owner: Pool, worker: Pool, count: number): Promise<Shop> {
  const tienda = await addStore(owner);
  const user = await addUser(owner, tienda);
  await owner.query(
    `insert into public.productos (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
     select gen_random_uuid(), 'Producto ' || md5(n::text), 'SKU-' || n, 100.5, 60.25, -0.125 * (n % 2), 'general', true, $1
     from generate_series(1, $2::int) n`,
    [tienda, count],
  );
  let inserted = 0;
  const ms = await timed(async () => {
    for (const told of await reconcile(worker, [tienda], new Date())) inserted += told.inserted;
  });
  if (inserted !== count) throw new Error(`expected ${count} insights, got ${inserted}`);
  console.log(`${count} insights told in ${milliseconds(ms)}`);
  await owner.query("vacuum (analyze)");
  const { rows } = await owner.query<Shop["ids"]>(
    `select i.id as "INSIGHT", i.extra_data ->> 'producto_id' as "PRODUCT",
       (select r.id from nexus_engine.request_refresh($1, $2) r) as "REQUEST"
     from public.insights i where i.tienda_id = $1 limit 1`,
    [tienda, user],
  );
  if (!rows[0]) throw new Error("expected an insight");
  return { user, ids: rows[0] };
}

type Figures = { wall: number; cpu: number };

/** CPU milliseconds of this process and of the sessions of its server; NaN where there is no /proc. */
async function cpuSoFar(owner: Pool): Promise<number> {
  const { rows } = await owner.query<{ pid: number }>(
    "select pid from pg_stat_activity where application_name = 'nexus-bench-http'",
  );
  const ofPostgres = await cpuOf(rows.map(({ pid }) => pid)).catch(() => Number.NaN);
  return ofPostgres + process.cpuUsage().user / 1000;
}

async function measure(
  url: string,
  token: string,
  ids: Shop["ids"],
  owner: Pool,
): Promise<Figures[]> {
  const ask = async (query: string) => {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
      body: JSON.stringify({ query: `{ ${query} }` }),
    });
    const answer = (await response.json()) as {
      data: { insights?: { pageInfo: { endCursor: string } } };
      errors?: unknown;
    };
    // A time-out is a figure as well.
    if (answer.errors && !JSON.stringify(answer.errors).includes("TIMEOUT")) {
      throw new Error(`${query}: ${JSON.stringify(answer.errors)}`);
    }
    return answer.data;
  };
  const { insights } = await ask("insights(first: 50) { pageInfo { endCursor } }");
  const values = { ...ids, CURSOR: insights?.pageInfo.endCursor ?? "" };
  const figures: Figures[] = [];
  for (const query of Object.values(queries)) {
    const text = query.replace(
      /INSIGHT\b|PRODUCT\b|REQUEST\b|CURSOR\b/,
      (name) => values[name as keyof typeof values],
    );
    const first = await timed(() => ask(text));
    const times = first > 5_000 ? 1 : rounds;
    const walls: number[] = [];
    const before = await cpuSoFar(owner);
    for (let n = 0; n < times; n += 1) walls.push(await timed(() => ask(text)));
    figures.push({ wall: median(walls), cpu: ((await cpuSoFar(owner)) - before) / times });
  }
  return figures;
}

async function bench(url: string): Promise<void> {
  const log = createLog("warn");
  const owner = new Pool({ connectionString: url, max: 1 });
  const worker = createPool({
    connectionString: url,
    log,
    max: 1,
    name: "nexus-bench",
    role: "nexus_worker",
  });
  try {
    const figures: Figures[][] = [];
    await withBenchServer(url, 3, async (server) => {
      for (const { insights } of sizes) {
        const shop = await open(owner, worker, insights);
        const token = await server.tokenOf(shop.user);
        figures.push(await measure(server.url, token, shop.ids, owner));
      }
    });
    printTable(
      `One request alone, medians of ${rounds}`,
      [
        "",
        ...sizes.flatMap(({ insights, reach }) => [`of ${insights}`, "CPU", `reach ${reach} ms`]),
      ],
      Object.keys(queries).map((name, i) => [
        name,
        ...sizes.flatMap(({ reach }, size) => {
          const { wall = Number.NaN, cpu = Number.NaN } = figures[size]?.[i] ?? {};
          return [milliseconds(wall), milliseconds(cpu), wall < reach ? "" : "NOT"];
        }),
      ]),
    );
  } finally {
    await worker.end();
    await owner.end();
  }
}

await withBenchDatabase("relations", bench);
