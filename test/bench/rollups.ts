import { readFile } from "node:fs/promises";
import { Pool } from "pg";
import { globalSetup, globalTeardown } from "../support/cluster.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { rollUp } from "../support/rollups.ts";
import { cpuOf } from "./cpu.ts";
import { median, printTable } from "./figures.ts";

/**
 * Five years of sales against 60 days: `npx node test/bench/rollups.ts`. Nothing may cost more for a longer
 * history. Measured is the CPU time of the backends, read from /proc, so the server runs on this
 * machine, which must be Linux.
 */
const storeCount = 10;
const ticketsPerDay = 20;

/** A database with stores that have sold for so many days, rolled up. */
async function openShops(days: number): Promise<TestDatabase> {
  const db = await createTestDatabase();
  await db.pool.query("select nexus_engine.detach()");
  await db.pool.query(
    `insert into tiendas select gen_random_uuid(), 'Tienda ' || n, 'almacen', true from generate_series(1, $1) n`,
    [storeCount],
  );
  await db.pool.query(
    `insert into productos select gen_random_uuid(), 'Producto ' || n, 'SKU-' || n, null, 100, 60, 1000000, 'general', null, true, now(), now(), t.id
     from tiendas t, generate_series(1, 50) n`,
  );
  await db.pool.query(
    `insert into ventas (id, fecha, total, metodo_pago, created_at, status_pago, tienda_id)
     select gen_random_uuid(), f.at, round((random() * 10000)::numeric, 2), 'efectivo', f.at, 'pagado', t.id
     from tiendas t, generate_series(1, $1::int) day, generate_series(1, $2::int) n,
       lateral (select now() - make_interval(days => day) + interval '1 minute' * n as at) f`,
    [days, ticketsPerDay],
  );
  await db.pool.query(
    `with product as (select tienda_id, array_agg(id) as ids from productos group by 1)
     insert into detalles_venta
     select gen_random_uuid(), 1, v.total / 2, v.total / 2, v.id, p.ids[1 + floor(random() * 50)]
     from ventas v join product p on p.tienda_id = v.tienda_id, generate_series(1, 2)`,
  );
  await makeIndex(db.pool);
  await db.pool.query("select nexus_engine.attach()");
  await db.pool.query("vacuum analyze");
  await rollUp(db.pool);
  await db.pool.query("vacuum analyze");
  return db;
}

async function makeIndex(pool: Pool): Promise<void> {
  const file = new URL("../../sql/pos/indexes/nexus_ventas_tienda_fecha.sql", import.meta.url);
  await pool.query(await readFile(file, "utf8"));
}

/** Connections as the API's are, to be ended. */
const owners: Pool[] = [];

/** What is measured, by name; the first of a pair is not. The backends are those that work for it. */
type Probes = {
  backends: number[];
  byName: Record<string, [prepare: (n: number) => Promise<unknown>, run: () => Promise<unknown>]>;
};

async function probesOf(db: TestDatabase, days: number): Promise<Probes> {
  const worker = db.poolAs("nexus_worker", 1);
  const { rows } = await db.pool.query<{ id: string }>("select id from tiendas order by id");
  const stores = rows.map(({ id }) => id);
  const owner = new Pool({ connectionString: db.url, max: 1, options: "-c jit=off" });
  owners.push(owner);
  const change = (n: number, day: number) =>
    owner.query(
      `update ventas set total = total + 1
       where tienda_id = $1 and fecha < now() - make_interval(days => $2) and fecha > now() - make_interval(days => $2 + 1)`,
      [stores[n % storeCount], day],
    );
  const rollUpNow = () => worker.query("select nexus_engine.roll_up_batch(250, '{}')");
  const nothing = async () => {};
  const byName: Probes["byName"] = {
    "roll up one day's changes, last week": [(n) => change(n, 3), rollUpNow],
    "roll up one day's changes, any day": [
      (n) => change(n, 2 + ((n * 7919) % (days - 4))),
      rollUpNow,
    ],
    "steady refresh, every type": [
      nothing,
      () => worker.query("select * from nexus_engine.reconcile(null, $1, now())", [stores]),
    ],
    "VENTAS_DIARIAS and VENTAS_SEMANALES": [
      nothing,
      () =>
        worker.query(
          `select count(*) from nexus_engine.insight_ventas_diarias($1, now())
           union all select count(*) from nexus_engine.insight_ventas_semanales($1, now())`,
          [stores],
        ),
    ],
    "salesSummary of the last month": [
      nothing,
      () => owner.query("select nexus_engine.sales_summary($1, null, null, now())", [stores[0]]),
    ],
  };
  return { backends: [await backendOf(worker), await backendOf(owner)], byName };
}

async function backendOf(pool: Pool): Promise<number> {
  return (await pool.query<{ pid: number }>("select pg_backend_pid() as pid")).rows[0]?.pid ?? 0;
}

/** Medians of both, in turns, so that what else the machine does falls on both. */
async function compare(small: Probes, large: Probes): Promise<[string, number, number][]> {
  const medians: [string, number, number][] = [];
  for (const name of Object.keys(small.byName)) {
    const took: [number[], number[]] = [[], []];
    for (let n = 0; n < 44; n += 1) {
      for (const [which, { backends, byName }] of [small, large].entries()) {
        const [prepare, run] = byName[name] ?? [];
        await prepare?.(n);
        const before = await cpuOf(backends);
        await run?.();
        // The first runs warm up.
        if (n > 2) took[which]?.push((await cpuOf(backends)) - before);
      }
    }
    medians.push([name, median(took[0]), median(took[1])]);
  }
  return medians;
}

async function main(): Promise<void> {
  await globalSetup();
  const [short, long] = [60, 1825];
  const small = await openShops(short);
  const large = await openShops(long);
  try {
    const compared = await compare(await probesOf(small, short), await probesOf(large, long));
    printTable(
      "What a longer history costs: milliseconds of CPU, medians",
      ["", `${short} days`, `${long} days`, "ratio"],
      compared.map(([name, few, many]) => [
        name,
        few.toFixed(2),
        many.toFixed(2),
        (many / few).toFixed(2),
      ]),
    );
  } finally {
    await Promise.all(owners.map((owner) => owner.end()));
    await small.drop();
    await large.drop();
    await globalTeardown();
  }
}

await main();
