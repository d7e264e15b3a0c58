import { readFile } from "node:fs/promises";
import { Pool, type PoolClient } from "pg";
import { globalSetup, globalTeardown } from "../support/cluster.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { rollUp } from "../support/rollups.ts";

/**
 * What rollups and change marks cost: `node test/bench/rollups.ts`. The CPU time of a checkout is read
 * from /proc, so the server must run on this machine, which must be Linux.
 */
const storeCount = 10;
const ticketsPerDay = 20;
const checkoutsPerRound = 4000;
const rounds = Number(process.argv[2] ?? 7);

const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? 0;

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

/** What is measured, by name; the first of a pair is not timed. */
type Probes = Record<
  string,
  [prepare: (n: number) => Promise<unknown>, run: () => Promise<unknown>]
>;

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
  const rollUpNow = () => worker.query("select nexus_engine.roll_up(250)");
  const nothing = async () => {};
  return {
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
}

/** Medians of both, in turns, so that what else the machine does falls on both. */
async function compare(small: Probes, large: Probes): Promise<[string, number, number][]> {
  const medians: [string, number, number][] = [];
  for (const [name, probe] of Object.entries(small)) {
    const took: [number[], number[]] = [[], []];
    for (let n = 0; n < 44; n += 1) {
      for (const [which, [prepare, run]] of [probe, large[name] ?? probe].entries()) {
        await prepare(n);
        const started = performance.now();
        await run();
        // The first runs warm up.
        if (n > 2) took[which]?.push(performance.now() - started);
      }
    }
    medians.push([name, median(took[0]), median(took[1])]);
  }
  return medians;
}

/** Nanoseconds that this process has been on a CPU. */
async function cpu(pid: number): Promise<number> {
  return Number((await readFile(`/proc/${pid}/schedstat`, "utf8")).split(" ")[0]);
}

async function checkout(client: PoolClient, store: string, products: string[], n: number) {
  const run = (name: string, text: string, values: unknown[]) =>
    client.query({ name, text, values });
  await client.query("begin");
  const { rows } = await run(
    "venta",
    "insert into ventas (id, total, metodo_pago, status_pago, tienda_id) values (gen_random_uuid(), 30, 'efectivo', 'pendiente', $1) returning id",
    [store],
  );
  const lines = [0, 1, 2].map((k) => products[(n * 3 + k) % products.length]);
  for (const product of lines) {
    await run("line", "insert into detalles_venta values (gen_random_uuid(), 1, 10, 10, $1, $2)", [
      rows[0].id,
      product,
    ]);
  }
  for (const product of lines) {
    await run("stock", "update productos set stock_actual = stock_actual - 1 where id = $1", [
      product,
    ]);
  }
  await client.query("commit");
}

const marks = (able: "enable" | "disable") =>
  ["insert", "update", "delete"]
    .map((name) => `alter table ventas ${able} trigger nexus_sale_${name};`)
    .concat(
      ["insert", "update", "delete"].map(
        (name) => `alter table detalles_venta ${able} trigger nexus_line_${name};`,
      ),
    )
    .join(" ");

/** Microseconds of backend CPU a checkout, in rounds that alternate; medians. */
async function measureCheckout(db: TestDatabase): Promise<Record<string, number>> {
  const { rows } = await db.pool.query<{ store: string; products: string[] }>(
    "select tienda_id as store, array_agg(id) as products from productos group by 1 limit 1",
  );
  const { store, products } = rows[0] ?? { store: "", products: [] };
  const states: Record<string, string> = {
    "everything of ours": "select nexus_engine.attach()",
    "without the marks": `select nexus_engine.attach(); ${marks("disable")}`,
    "detached, without our index": "select nexus_engine.detach()",
  };
  const took = new Map(Object.keys(states).map((name) => [name, [] as number[]]));
  const client = await db.pool.connect();
  const pid = (await client.query("select pg_backend_pid() as pid")).rows[0].pid;
  for (let round = 0; round < rounds + 1; round += 1) {
    for (const [name, sql] of Object.entries(states)) {
      await db.pool.query(marks("enable")).catch(() => {});
      await db.pool.query(sql);
      if (!name.startsWith("detached")) await makeIndex(db.pool);
      await db.pool.query("vacuum analyze productos");
      const from = await cpu(pid);
      for (let n = 0; n < checkoutsPerRound; n += 1) await checkout(client, store, products, n);
      // The first round warms up.
      if (round > 0) took.get(name)?.push((await cpu(pid)) - from);
    }
  }
  client.release();
  return Object.fromEntries(
    [...took].map(([name, ns]) => [name, median(ns) / checkoutsPerRound / 1000]),
  );
}

async function main(): Promise<void> {
  await globalSetup();
  const [short, long] = [60, 1825];
  const small = await openShops(short);
  const large = await openShops(long);
  try {
    const compared = await compare(await probesOf(small, short), await probesOf(large, long));
    console.log(`${"milliseconds, medians".padEnd(44)} ${short} days  ${long} days  ratio`);
    for (const [name, few, many] of compared) {
      console.log(
        `${name.padEnd(44)} ${few.toFixed(2).padStart(7)}  ${many.toFixed(2).padStart(9)}  ${(many / few).toFixed(2)}`,
      );
    }
    const checkouts = await measureCheckout(small);
    const all = checkouts["everything of ours"] ?? 0;
    console.log(`\nCPU of a checkout, ${rounds} rounds of ${checkoutsPerRound}, medians`);
    for (const [name, us] of Object.entries(checkouts)) {
      console.log(`${name.padEnd(44)} ${us.toFixed(1).padStart(7)} us  ${(us / all).toFixed(3)}`);
    }
  } finally {
    await Promise.all(owners.map((owner) => owner.end()));
    await small.drop();
    await large.drop();
    await globalTeardown();
  }
}

await main();
