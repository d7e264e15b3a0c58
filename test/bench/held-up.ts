import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, Pool } from "pg";
import { withBenchDatabase } from "./database.ts";
import { milliseconds, printTable, quantile } from "./figures.ts";
import { type Arrivals, openShop, type Shop, sell } from "./shops.ts";

/**
 * Alerts and refreshes of other stores while a transaction of the POS holds insights of one store for a
 * minute, and that store sells and refreshes as well; beside a minute without. One worker process.
 * Run it with: npx node test/bench/held-up.ts. On an embedded Postgres of its own, or on the server of
 * BENCH_DATABASE_URL.
 */

const stores = 20;
const productsPerStore = 500;
const heldMs = Number(process.env["BENCH_HELD_SECONDS"] ?? 60) * 1000;
/** From one refresh of a store to the next, and from one schedule's pass over all to the next. */
const refreshEveryMs = 250;
const passEveryMs = 5_000;
const worker = join(import.meta.dirname, "../../src/worker.ts");

async function bench(url: string): Promise<void> {
  const pos = new Pool({ connectionString: url, max: 10 });
  const shops: Shop[] = [];
  for (let n = 0; n < stores; n += 1) shops.push(await openShop(pos, productsPerStore));
  const locked = await openShop(pos, productsPerStore);
  await pos.query("vacuum analyze");
  const engine = spawn(process.execPath, [worker], {
    env: {
      ...process.env,
      DATABASE_URL: url,
      SECRET_KEY: randomBytes(32).toString("hex"),
      LOG_LEVEL: "warn",
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const arrivals: Arrivals = new Map();
  const ear = await listen(pos, url, [...shops, locked], arrivals);
  try {
    await once(engine.stdout as NonNullable<ChildProcess["stdout"]>, "data");
    await settled(pos);
    await sell(pos, [...shops, locked], arrivals, 4 * stores);

    const calm = await traffic(pos, shops, locked, arrivals);
    const holder = await pos.connect();
    await holder.query("begin");
    await holder.query("update public.insights set mensaje = mensaje where tienda_id = $1", [
      locked.id,
    ]);
    const [held] = await Promise.all([
      traffic(pos, shops, locked, arrivals),
      sleep(heldMs).then(() => holder.query("rollback")),
    ]);
    holder.release();
    printTable(
      `The other ${stores} stores, ${heldMs / 1000} s each`,
      ["", "alerts", "p50", "p99", "max", "refreshes", "p50", "p99", "max"],
      [row("no lock", calm), row("insights of one store locked", held)],
    );
    console.log(
      `\nThe locked store's own refresh: ${milliseconds(calm.ownRefresh)}, while locked ${milliseconds(held.ownRefresh)}`,
    );
  } finally {
    engine.kill("SIGTERM");
    if (engine.exitCode === null) await once(engine, "exit");
    await ear.end();
    await pos.end();
  }
}

type Traffic = { alerts: number[]; refreshes: number[]; ownRefresh: number };

/** Sales and refreshes of the shops for as long as the lock is held, and some of the store that is locked. */
async function traffic(
  pos: Pool,
  shops: Shop[],
  locked: Shop,
  arrivals: Arrivals,
): Promise<Traffic> {
  const { rows } = await pos.query<{ now: Date }>("select clock_timestamp() as now");
  const until = performance.now() + heldMs;
  const alerts: number[] = [];
  const told: Promise<unknown>[] = [];
  const selling = async () => {
    while (performance.now() < until) {
      // Whoever waits for the messages of a sale sells no less meanwhile.
      told.push(sell(pos, shops, arrivals, 1).then(({ pushes }) => alerts.push(...pushes)));
      shops.push(shops.shift() as Shop);
      await sleep(30);
    }
  };
  const sellingLocked = async () => {
    while (performance.now() < until) {
      // Of what it was told of already, so that the insight that is locked has to change.
      await pos.query(
        `update public.productos p set stock_actual = 4 + random() from public.insights i
         where i.tienda_id = $1 and i.is_active and p.id = (i.extra_data ->> 'producto_id')::uuid`,
        [locked.id],
      );
      await sleep(1000);
    }
  };
  const refreshing = async () => {
    for (let n = 0; performance.now() < until; n += 1) {
      await pos.query("select nexus_engine.request_refresh($1)", [shops[n % shops.length]?.id]);
      await sleep(refreshEveryMs);
    }
  };
  const passing = async () => {
    while (performance.now() < until) {
      await pos.query("select graphile_worker.add_job('generate_all_insights')");
      await sleep(passEveryMs);
    }
  };
  // When the lock is in the way already.
  const own = async () => {
    await sleep(heldMs / 4);
    await pos.query("select nexus_engine.request_refresh($1)", [locked.id]);
  };
  await Promise.all([own(), selling(), sellingLocked(), refreshing(), passing()]);
  await Promise.all(told);
  await settled(pos);
  const { rows: requests } = await pos.query<{ own: boolean; ms: number }>(
    `select tienda_id = $1 as own, extract(epoch from finished_at - queued_at)::float8 * 1000 as ms
     from nexus_engine.refresh_request where queued_at > $2`,
    [locked.id, rows[0]?.now],
  );
  return {
    alerts,
    refreshes: requests.filter(({ own }) => !own).map(({ ms }) => ms),
    ownRefresh: requests.find(({ own }) => own)?.ms ?? Number.NaN,
  };
}

/** Calls who waits for an alert about a product. */
async function listen(pos: Pool, url: string, shops: Shop[], arrivals: Arrivals): Promise<Client> {
  const ear = new Client({ connectionString: url });
  await ear.connect();
  ear.on("notification", ({ payload }) => {
    const at = performance.now();
    const ids = (JSON.parse(payload ?? "{}") as { new?: string[] }).new ?? [];
    if (ids.length === 0) return;
    void pos
      .query<{ product: string }>(
        "select extra_data ->> 'producto_id' as product from public.insights where id = any ($1)",
        [ids],
      )
      .then(({ rows }) => {
        for (const { product } of rows) {
          arrivals.get(product)?.(at);
          arrivals.delete(product);
        }
      });
  });
  for (const { id } of shops) await ear.query(`listen "nexus_store:${id}"`);
  return ear;
}

/** Nothing to do any more. */
async function settled(pos: Pool): Promise<void> {
  for (;;) {
    const { rowCount } = await pos.query("select from graphile_worker.jobs limit 1");
    if (!rowCount) return;
    await sleep(100);
  }
}

function row(name: string, { alerts, refreshes }: Traffic): (string | number)[] {
  const figures = (values: number[]) => [
    values.length,
    ...[0.5, 0.99, 1].map((q) => milliseconds(quantile(values, q))),
  ];
  return [name, ...figures(alerts), ...figures(refreshes)];
}

await withBenchDatabase("held_up", bench);
