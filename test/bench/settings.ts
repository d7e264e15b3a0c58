import { setTimeout as sleep } from "node:timers/promises";
import { Client, Pool } from "pg";
import { asOwner, withBenchDatabase } from "./database.ts";
import { milliseconds, printTable, quantile } from "./figures.ts";
import { startWorkers } from "./fleet/workers.ts";
import { openShop, type Shop } from "./shops.ts";

/**
 * How long the sales of other stores wait while one store changes its settings as fast as it may, and while
 * a worker starts on a database without our triggers; meanwhile a transaction of the POS holds a row of
 * productos, and so keeps every lock of ours out. Run it with: npx node test/bench/settings.ts. On an
 * embedded Postgres of its own, or on the server of BENCH_DATABASE_URL.
 */

const cashiers = 4;
/** A sale hardly notices so much. */
const noticedMs = 50;

type Sale = { at: number; ms: number };

async function main(): Promise<void> {
  await withBenchDatabase("settings", async (url) => {
    const pos = new Pool({ connectionString: url, max: 4 });
    const shops: Shop[] = [];
    for (let n = 0; n < cashiers; n += 1) shops.push(await openShop(pos, 200));
    const [held, restless] = [await openShop(pos, 1), await openShop(pos, 200)];
    const hold = new Client({ connectionString: url, application_name: "bench-report" });
    await hold.connect();

    const workers = await startWorkers(url, 1);
    const rows = [row("nobody changes a setting", await sellDuring(url, shops, sleep(10_000)))];
    await hold.query("begin");
    await hold.query("update productos set stock_actual = stock_actual where id = $1", [
      held.products[0],
    ]);
    let changes = 0;
    const sales = await sellDuring(url, shops, async () => {
      const until = performance.now() + 20_000;
      for (; performance.now() < until; changes += 1) await raise(pos, restless, 11 + changes);
    });
    rows.push(row(`one store raises its threshold ${changes} times in 20 s`, sales));
    await hold.query("commit");
    await workers.stop();

    await pos.query("select nexus_engine.detach()");
    await pos.query("delete from nexus_engine.detached");
    await hold.query("begin");
    await hold.query("update productos set stock_actual = stock_actual where id = $1", [
      held.products[0],
    ]);
    const began = performance.now();
    let said = "";
    let started: Awaited<ReturnType<typeof startWorkers>> | undefined;
    const starting = startWorkers(url, 1).then(
      (worker) => {
        started = worker;
        said = `runs after ${milliseconds(performance.now() - began)}`;
      },
      (error: Error) => {
        said = `${error.message} after ${milliseconds(performance.now() - began)}`;
      },
    );
    rows.push(row("a worker starts behind it", await sellDuring(url, shops, sleep(21_000))));
    await hold.query("commit");
    const freed = performance.now();
    await starting;
    while (started && !(await isAttached(url))) await sleep(50);
    const attached = milliseconds(performance.now() - freed);
    await started?.stop();
    printTable(
      `Sales of ${cashiers} other stores while a transaction of the POS holds a row of productos`,
      ["", "sales", "p50", "p99", "longest", `time blocked over ${noticedMs} ms`],
      rows,
    );
    console.log(
      `  the worker ${said}${started ? `; its triggers are there ${attached} after that transaction` : ""}`,
    );
    await hold.end();
    await pos.end();
  });
}

/** Sells at all tills at once, a sale every 20 ms each, until the work is done. */
async function sellDuring(
  url: string,
  shops: Shop[],
  work: Promise<unknown> | (() => Promise<unknown>),
): Promise<Sale[]> {
  let going = true;
  const sales: Sale[] = [];
  const till = (shop: Shop) =>
    asOwner(url, async (client) => {
      for (let n = 0; going; n += 1) {
        const at = performance.now();
        await checkOut(client, shop, n);
        sales.push({ at, ms: performance.now() - at });
        await sleep(20);
      }
    });
  const tills = shops.map(till);
  await (typeof work === "function" ? work() : work);
  going = false;
  await Promise.all(tills);
  return sales;
}

async function checkOut(client: Client, { id, products }: Shop, n: number): Promise<void> {
  const sold = [0, 1, 2].map((line) => products[(3 * n + line) % products.length]);
  await client.query("begin");
  const { rows } = await client.query<{ id: string }>(
    `insert into ventas (id, total, metodo_pago, status_pago, tienda_id)
     values (gen_random_uuid(), 30, 'efectivo', 'pendiente', $1) returning id`,
    [id],
  );
  for (const product of sold) {
    await client.query("insert into detalles_venta values (gen_random_uuid(), 1, 10, 10, $1, $2)", [
      rows[0]?.id,
      product,
    ]);
    await client.query("update productos set stock_actual = stock_actual - 1 where id = $1", [
      product,
    ]);
  }
  await client.query("commit");
}

async function raise(pos: Pool, shop: Shop, threshold: number): Promise<void> {
  await pos.query(
    `insert into nexus_engine.store_settings (tienda_id, low_stock_threshold) values ($1, $2)
     on conflict (tienda_id) do update set low_stock_threshold = excluded.low_stock_threshold`,
    [shop.id, threshold],
  );
}

async function isAttached(url: string): Promise<boolean> {
  return asOwner(url, async (owner) => {
    const { rows } = await owner.query("select nexus_engine.attached() as attached");
    return rows[0]?.attached === true;
  });
}

function row(what: string, sales: Sale[]): (string | number)[] {
  const all = sales.map(({ ms }) => ms);
  const took =
    Math.max(...sales.map(({ at, ms }) => at + ms)) - Math.min(...sales.map(({ at }) => at));
  return [
    what,
    sales.length,
    milliseconds(quantile(all, 0.5)),
    milliseconds(quantile(all, 0.99)),
    milliseconds(Math.max(...all)),
    `${((100 * blocked(sales)) / took).toFixed(1)} %`,
  ];
}

/** How long some till stood waiting for longer than is noticed, each moment once. */
function blocked(sales: Sale[]): number {
  let until = 0;
  let sum = 0;
  for (const { at, ms } of sales.toSorted((a, b) => a.at - b.at)) {
    if (ms <= noticedMs) continue;
    sum += Math.max(0, at + ms - Math.max(at, until));
    until = Math.max(until, at + ms);
  }
  return sum;
}

await main();
