import { parseArgs } from "node:util";
import { Client, Pool } from "pg";
import { createPool } from "../../src/database/pools.ts";
import { ensurePosIndexes } from "../../src/database/pos.ts";
import { createLog } from "../../src/log.ts";
import { startStockDrain } from "../../src/worker/stock-drain.ts";
import { cpuOf } from "./cpu.ts";
import { withBenchDatabase } from "./database.ts";
import { median, printTable } from "./figures.ts";
import { openShop } from "./shops.ts";

/**
 * What our triggers and our index cost a checkout: npx node test/bench/checkout.ts [--slices N]. On an
 * embedded Postgres of its own, with fsync, because the CPU time of its backends is read from /proc.
 *
 * Two databases that are alike sell in turns, a tenth of a second each: one attached, with a worker's
 * drain at its outbox, the other detached. In the middle they change roles. So what else the machine
 * does, and how the pages of one database happen to lie, falls on both. Their statements are sent as
 * text, as pgbench and most drivers do by default, and then prepared, where everything else is cheaper.
 * Last, for what any trigger costs: two that do nothing, where a checkout meets two of ours, and no index.
 */

const clients = 4;
const checkoutsPerSlice = 25;
const productsPerClient = 500;
/** Of a cashier's products, so many are low: one more crosses downwards, else the first one upwards. */
const lowProducts = 10;
/** From one product sold to the next: it spreads them over the pages of their table, as customers do. */
const stride = 211;
/** Before anything is measured, so that no plan of a foreign key's check takes a table for empty. */
const checkoutsBefore = 500;
const log = createLog("error");

type Protocol = "text" | "prepared";
type Load = { protocol: Protocol; share: number };
type Cashier = {
  client: Client;
  pid: number;
  store: string;
  products: string[];
  sold: number;
  /** The products that have crossed, the longest first. */
  low: string[];
};
type Side = { url: string; owner: Pool; cashiers: Cashier[] };
type Slice = { cpu: number; wall: number };

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { slices: { type: "string", default: "160" } } });
  const slices = Number(values.slices);
  if (!(slices >= 4)) throw new Error(`--slices: expected 4 or more, got ${values.slices}`);
  await withBenchDatabase("checkout_a", (a) =>
    withBenchDatabase("checkout_b", (b) => compareSides(a, b, slices)),
  );
}

async function compareSides(urlOfA: string, urlOfB: string, slices: number): Promise<void> {
  const [a, b] = [await openSide(urlOfA), await openSide(urlOfB)];
  const rows: string[][] = [];
  for (const protocol of ["text", "prepared"] as const) {
    for (const [what, share, put] of [
      ["nothing crosses", 0, attach],
      ["2 % of the updates cross", 0.02, attach],
      ["every update crosses", 1, attach],
      ["triggers that do nothing", 0, putNothing],
    ] as const) {
      const order = { put, load: { protocol, share }, slices: slices / 2 };
      const halves = [await compare(a, b, order), await compare(b, a, order)];
      rows.push([protocol, what, ...figures(halves)]);
    }
  }
  printTable(
    `A checkout: a ticket, three lines, three stock updates; ${clients} clients, ${slices} slices of ${clients * checkoutsPerSlice} each`,
    [
      "statements",
      "",
      "CPU detached",
      "attached",
      "ratio",
      "throughput ratio",
      "HOT detached",
      "attached",
    ],
    rows,
  );
  for (const side of [a, b]) await closeSide(side);
}

async function openSide(url: string): Promise<Side> {
  const owner = new Pool({ connectionString: url, max: 2 });
  const cashiers: Cashier[] = [];
  for (let n = 0; n < clients; n += 1) {
    const { id, products } = await openShop(owner, productsPerClient);
    const client = new Client({ connectionString: url });
    await client.connect();
    const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
    cashiers.push({ client, pid: rows[0]?.pid ?? 0, store: id, products, sold: 0, low: [] });
  }
  for (let n = 0; n < checkoutsBefore; n += 1) {
    await Promise.all(cashiers.map((cashier) => checkout(cashier, { protocol: "text", share: 0 })));
  }
  await owner.query("vacuum analyze");
  return { url, owner, cashiers };
}

async function closeSide({ owner, cashiers }: Side): Promise<void> {
  await Promise.all(cashiers.map(({ client }) => client.end()));
  await owner.end();
}

type Half = { attached: Slice[]; detached: Slice[]; hot: { attached: number; detached: number } };

type ToCompare = { put: (side: Side) => Promise<void>; load: Load; slices: number };

/** In place of ours. */
async function putNothing({ owner }: Side): Promise<void> {
  await owner.query(`
    create or replace function public.nothing() returns trigger language plpgsql as $$ begin return null; end $$;
    create trigger nexus_nothing after update of stock_actual on productos for each row execute function nothing();
    create trigger nexus_nothing after insert on ventas for each row execute function nothing();`);
}

async function attach({ owner, url }: Side): Promise<void> {
  await owner.query("select nexus_engine.attach()");
  const client = await owner.connect();
  await ensurePosIndexes(client as unknown as Client, url, log);
  client.release();
  // What the job check_stock does, for which attach() has asked.
  await owner.query("select nexus_engine.check_stock_batch(null, 100, now())");
  await owner.query("select nexus_engine.follow_triggers()");
}

async function compare(
  attached: Side,
  detached: Side,
  { put, load, slices }: ToCompare,
): Promise<Half> {
  for (const side of [attached, detached]) await side.owner.query("select nexus_engine.detach()");
  await put(attached);
  for (const side of [attached, detached]) {
    await side.owner.query("vacuum (analyze) productos, ventas, detalles_venta");
    await side.owner.query("select pg_stat_reset_single_table_counters('productos'::regclass)");
  }
  const pool = createPool({
    connectionString: attached.url,
    log,
    max: 2,
    name: "bench",
    role: "nexus_worker",
  });
  const drain = startStockDrain(pool, log);
  const half: Half = { attached: [], detached: [], hot: { attached: 0, detached: 0 } };
  for (let n = -2; n < slices; n += 1) {
    const turns = n % 2 ? (["attached", "detached"] as const) : (["detached", "attached"] as const);
    for (const turn of turns) {
      const slice = await sell(turn === "attached" ? attached : detached, load);
      // The first ones warm up.
      if (n >= 0) half[turn].push(slice);
    }
  }
  await drain.stop();
  await pool.end();
  half.hot = { attached: await hotRatio(attached), detached: await hotRatio(detached) };
  return half;
}

/** Checkouts of all clients at once; their backends' CPU time and the time it took, in microseconds a checkout. */
async function sell({ cashiers }: Side, load: Load): Promise<Slice> {
  const count = cashiers.length * checkoutsPerSlice;
  const pids = cashiers.map(({ pid }) => pid);
  const before = await cpuOf(pids);
  const began = performance.now();
  await Promise.all(
    cashiers.map(async (cashier) => {
      for (let n = 0; n < checkoutsPerSlice; n += 1) await checkout(cashier, load);
    }),
  );
  const wall = ((performance.now() - began) * 1000) / count;
  return { cpu: (((await cpuOf(pids)) - before) * 1000) / count, wall };
}

/** Which update is a crossing is decided by counting, so that both sides do exactly the same. */
async function checkout(cashier: Cashier, { protocol, share }: Load): Promise<void> {
  const { client, store, products, low } = cashier;
  const run = (name: string, text: string, values: (string | boolean | undefined)[]) =>
    protocol === "prepared"
      ? client.query<{ id: string }>({ name, text, values })
      : client.query<{ id: string }>(text.replace(/\$(\d)/g, (_, n) => `'${values[n - 1]}'`));
  await client.query("begin");
  const { rows } = await run(
    "ticket",
    `insert into ventas (id, total, metodo_pago, status_pago, tienda_id)
     values (gen_random_uuid(), 30, 'efectivo', 'pendiente', $1) returning id`,
    [store],
  );
  const lines = [0, 1, 2].map((line) => cashier.sold + line);
  cashier.sold += lines.length;
  for (const n of lines) {
    await run("line", "insert into detalles_venta values (gen_random_uuid(), 1, 10, 10, $1, $2)", [
      rows[0]?.id,
      products[(n * stride) % products.length],
    ]);
  }
  for (const n of lines) {
    const product = products[(n * stride) % products.length];
    const crosses = Math.floor((n + 1) * share) > Math.floor(n * share);
    if (!crosses || !product) {
      await run("sell", "update productos set stock_actual = stock_actual - 0.001 where id = $1", [
        product,
      ]);
    } else if (low.length < lowProducts) {
      low.push(product);
      await run("sell out", "update productos set stock_actual = 5 where id = $1", [product]);
    } else {
      await run("restock", "update productos set stock_actual = 100000 where id = $1", [
        low.shift(),
      ]);
    }
  }
  await client.query("commit");
}

async function hotRatio({ owner }: Side): Promise<number> {
  // What the backends have counted reaches the view a second later.
  await new Promise((done) => setTimeout(done, 1500));
  const { rows } = await owner.query<{ hot: number }>(
    "select n_tup_hot_upd / n_tup_upd::float8 as hot from pg_stat_user_tables where relname = 'productos'",
  );
  return rows[0]?.hot ?? Number.NaN;
}

function figures(halves: Half[]): string[] {
  const all = (side: "attached" | "detached", key: keyof Slice) =>
    halves.flatMap((half) => half[side].map((slice) => slice[key]));
  const ratio = (key: keyof Slice) =>
    median(all("detached", key).map((value, n) => value / (all("attached", key)[n] ?? 0)));
  const hot = (side: "attached" | "detached") =>
    `${(median(halves.map((half) => half.hot[side])) * 100).toFixed(1)} %`;
  return [
    `${median(all("detached", "cpu")).toFixed(0)} us`,
    `${median(all("attached", "cpu")).toFixed(0)} us`,
    ratio("cpu").toFixed(3),
    ratio("wall").toFixed(3),
    hot("detached"),
    hot("attached"),
  ];
}

await main();
