import { readFile } from "node:fs/promises";
import type { PoolClient } from "pg";
import { globalSetup, globalTeardown } from "../support/cluster.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { drainOutbox } from "../support/drain.ts";
import { rollUp } from "../support/rollups.ts";
import { cpuOf } from "./cpu.ts";
import { median, milliseconds, printTable, timed, times } from "./figures.ts";

/**
 * What a steady refresh costs where there is ten times as much: `npx node test/bench/growth.ts [stores]
 * [rounds]`. CPU time is read from /proc, so the server must run on this machine, which must be Linux.
 */
const [stores = 100, rounds = 7] = process.argv.slice(2).map(Number);
const lowPerStore = 100;
const ticketsPerDay = 20;
/** How long the engine remembers what it told, as purge keeps it by default. */
const remembersDays = 180;

type Size = { title: string; days: number; products: number };

const base: Size = { title: "60 days of sales, 2,000 products a store", days: 60, products: 2_000 };
const sizes: Size[] = [
  base,
  { ...base, title: "10 x the sales history", days: 10 * base.days },
  { ...base, title: "10 x the products, as many low ones", products: 10 * base.products },
];

/** As many low ones whatever the number of products, spread over them; a fifth of them is out. */
const products = `
  insert into public.productos (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
  select gen_random_uuid(), 'Producto ' || n, 'SKU-' || n, 100, 60,
    case when n % ($1::int / ${lowPerStore}) <> 0 then 500
      when n / ($1::int / ${lowPerStore}) % 5 = 0 then 0 else 1 + n % 10 end,
    'general', true, t.id
  from public.tiendas t cross join generate_series(1, $1::int) n`;

/** The last five hours ago: also in a day that is told while it runs. */
const tickets = `
  insert into public.ventas (id, fecha, total, metodo_pago, created_at, status_pago, tienda_id)
  select gen_random_uuid(), f.at, 100 + n, 'efectivo', f.at, 'pagado', t.id
  from generate_series($1::int, 1, -1) day cross join public.tiendas t cross join generate_series(1, ${ticketsPerDay}) n
  cross join lateral (select now() - make_interval(days => day - 1, hours => 5) + interval '1 minute' * n as at) f`;

/** What was told of each day before, archived by its successor. */
const summaries = `
  with told as (
    select gen_random_uuid() as id, p.tienda_id, p.subject, p.announced_at
    from nexus_engine.store_periods(
      'day', array(select id from public.tiendas), now(), array(select generate_series(1, $1::int - 1))) p
  ), insight as (
    insert into public.insights (id, tienda_id, tipo, mensaje, nivel_urgencia, is_active, extra_data, created_at)
    select id, tienda_id, 'VENTAS_DIARIAS', 'El día ' || subject, 'BAJA', false, '{}', announced_at from told
  )
  insert into nexus_engine.open_insight (tienda_id, tipo, subject, insight_id, nivel_urgencia, since)
  select tienda_id, 'VENTAS_DIARIAS', subject, id, 'BAJA', announced_at from told`;

type Shops = { size: Size; db: TestDatabase; client: PoolClient; pid: number; ids: string[] };

async function open(size: Size): Promise<Shops> {
  const db = await createTestDatabase();
  const run = (text: string, values: unknown[] = []) => db.pool.query(text, values);
  await run("select nexus_engine.detach()");
  await run(
    `insert into public.tiendas (id, nombre, rubro, is_active)
     select gen_random_uuid(), 'Tienda ' || n, 'almacen', true from generate_series(1, $1::int) n`,
    [stores],
  );
  await run(products, [size.products]);
  await run(tickets, [size.days]);
  await run(summaries, [Math.min(size.days, remembersDays)]);
  const index = new URL("../../sql/pos/indexes/nexus_ventas_tienda_fecha.sql", import.meta.url);
  await run(await readFile(index, "utf8"));
  await run("select nexus_engine.attach()");
  await run("vacuum analyze");
  await rollUp(db.pool);
  // The roll-up found sales that changed: what was told stands all the same.
  await run("truncate nexus_engine.sales_changed");
  const client = await db.poolAs("nexus_worker", 1).connect();
  const { rows } = await client.query<{ pid: number; ids: string[] }>(
    "select pg_backend_pid() as pid, array_agg(id) as ids from public.tiendas",
  );
  const shops = { size, db, client, pid: rows[0]?.pid ?? 0, ids: rows[0]?.ids ?? [] };
  const findings = await refresh(shops);
  if (findings !== stores * (lowPerStore + 2)) {
    throw new Error(
      `${size.title}: expected ${stores * (lowPerStore + 2)} insights, got ${findings}`,
    );
  }
  // That looked at every product, as check_stock does.
  await run("select nexus_engine.follow_triggers()");
  await run("vacuum analyze");
  return shops;
}

/** A low product of every store is sold, and the drain tells of it; the CPU milliseconds of the drain. */
async function sellAndTell({ db, client, pid }: Shops, n: number): Promise<number> {
  const { rowCount } = await db.pool.query(
    `update public.productos set stock_actual = stock_actual + case when $1::int % 2 = 0 then 1 else -1 end
     where id in (select distinct on (w.tienda_id) w.producto_id from nexus_engine.stock_watch w
                  where not w.is_out order by w.tienda_id, hashtextextended(w.producto_id::text, $1::int / 2))`,
    [n],
  );
  const from = await cpuOf([pid]);
  const told = await drainOutbox(client);
  if (told !== rowCount) throw new Error(`expected ${rowCount} sales told, got ${told}`);
  return (await cpuOf([pid])) - from;
}

/** Every type of every store in one call; how many insights it wrote. */
async function refresh({ client, ids }: Shops): Promise<number> {
  const { rows } = await client.query<{ written: number }>(
    "select sum(inserted + updated)::int as written from nexus_engine.reconcile(null, $1, now())",
    [ids],
  );
  return rows[0]?.written ?? 0;
}

async function main(): Promise<void> {
  await globalSetup();
  const all: Shops[] = [];
  try {
    for (const size of sizes) all.push(await open(size));
    const cpu = all.map((): number[] => []);
    const wall = all.map((): number[] => []);
    const telling = all.map((): number[] => []);
    for (let round = 0; round < rounds; round += 1) {
      for (const [i, shops] of all.entries()) {
        // Brings what the others pushed out of the cache back into it.
        await refresh(shops);
        for (let n = 0; n < 3; n += 1) {
          const from = await cpuOf([shops.pid]);
          wall[i]?.push(
            await timed(async () => {
              if ((await refresh(shops)) > 0) throw new Error("the steady refresh wrote something");
            }),
          );
          cpu[i]?.push((await cpuOf([shops.pid])) - from);
        }
        for (let n = 0; n < 4; n += 1) {
          const ms = await sellAndTell(shops, 4 * round + n);
          if (n > 0) telling[i]?.push(ms);
        }
      }
    }
    const [cpuMedian, wallMedian, tellingMedian] = [cpu, wall, telling].map((figures) =>
      figures.map(median),
    ) as [number[], number[], number[]];
    printTable(
      `Steady refresh of ${stores} stores in one call, ${lowPerStore} low products each (medians of ${3 * rounds})`,
      ["", "CPU", "ratio", "time", "ratio", "reach", "a sale in each told", "ratio"],
      sizes.map(({ title }, i) => [
        title,
        milliseconds(cpuMedian[i] ?? Number.NaN),
        times((cpuMedian[i] ?? Number.NaN) / (cpuMedian[0] ?? Number.NaN)),
        milliseconds(wallMedian[i] ?? Number.NaN),
        times((wallMedian[i] ?? Number.NaN) / (wallMedian[0] ?? Number.NaN)),
        i === 0 ? "" : "1.15 x",
        milliseconds(tellingMedian[i] ?? Number.NaN),
        times((tellingMedian[i] ?? Number.NaN) / (tellingMedian[0] ?? Number.NaN)),
      ]),
    );
  } finally {
    for (const { client, db } of all) {
      client.release();
      await db.drop();
    }
    await globalTeardown();
  }
}

await main();
