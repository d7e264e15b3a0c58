import type { Client, Pool } from "pg";
import { forgetInsights } from "./database.ts";
import { asOf } from "./dataset.ts";
import { median, milliseconds, printTable, timed, times } from "./figures.ts";

export type Bench = {
  /** The owner's connection: prepares what is measured. */
  owner: Client;
  /** Acts as nexus_worker: everything that is measured. */
  worker: Pool;
  stores: string[];
};

export type RefreshFigures = { fromEmpty: number; steady: number };

const functions = ["stock_bajo", "producto_sin_stock", "ventas_diarias", "ventas_semanales"];

/** Every finding of the given types, of the stores $1 at $2. */
function allFindings(types: string[]): string {
  return types
    .map(
      (type) =>
        `select '${type.toUpperCase()}' as tipo, f.* from nexus_engine.insight_${type}($1, $2) f`,
    )
    .join(" union all ");
}

/** Each column is read, so that the planner can leave none of them out. */
function computeOnly(types: string[]): string {
  return `select count(*)::int as findings, sum(length(subject)), sum(length(nivel_urgencia)),
      sum(length(mensaje)), sum(pg_column_size(extra_data))
    from (${allFindings(types)}) f`;
}

const insertOnly = `
  insert into public.insights (id, tienda_id, tipo, mensaje, nivel_urgencia, is_active, extra_data, created_at)
  select gen_random_uuid(), tienda_id, tipo, mensaje, nivel_urgencia, true, extra_data, $2
  from (${allFindings(functions)}) f`;

/** All stores in calls of `batch`, a transaction each; how many rows were written. */
export async function reconcileAll({ worker, stores }: Bench, batch: number): Promise<number> {
  let written = 0;
  for (let from = 0; from < stores.length; from += batch) {
    const { rows } = await worker.query<{ written: number }>(
      "select sum(inserted + updated + archived)::int as written from nexus_engine.reconcile(null, $1, $2)",
      [stores.slice(from, from + batch), asOf],
    );
    written += rows[0]?.written ?? 0;
  }
  return written;
}

/** What the first pass and the job check_stock leave behind. */
export async function fillStockWatch(bench: Bench): Promise<void> {
  await reconcileAll(bench, bench.stores.length);
  await bench.owner.query("select nexus_engine.follow_triggers()");
}

/** No insight and no memory of any; what the last contestant left dirty is on disk. */
export async function empty({ owner }: Bench): Promise<void> {
  await forgetInsights(owner);
  await owner.query("checkpoint");
}

/** What autovacuum does soon after so many rows were written. */
export async function settle({ owner }: Bench): Promise<void> {
  for (const table of ["public.insights", "nexus_engine.open_insight"]) {
    await owner.query(`vacuum (analyze) ${table}`);
  }
  await owner.query("checkpoint");
}

/** A full refresh from empty and with nothing changed, beside the bare statements. */
export async function benchRefresh(bench: Bench): Promise<RefreshFigures> {
  const { worker, stores } = bench;
  const full: number[] = [];
  const insert: number[] = [];
  let findings = 0;
  // The bare statements read stock_watch.
  await fillStockWatch(bench);
  for (let round = 0; round < 3; round += 1) {
    await empty(bench);
    let inserted = 0;
    insert.push(
      await timed(async () => {
        inserted = (await worker.query(insertOnly, [stores, asOf])).rowCount ?? 0;
      }),
    );
    await empty(bench);
    full.push(
      await timed(async () => {
        findings = await reconcileAll(bench, stores.length);
      }),
    );
    if (inserted !== findings) {
      throw new Error(`reconcile wrote ${findings} rows, the bare insert ${inserted}`);
    }
  }

  await settle(bench);
  const computation: number[] = [];
  const stateOnly: number[] = [];
  const again: number[] = [];
  const compared: number[] = [];
  const steady = async () => {
    const written = await reconcileAll(bench, stores.length);
    if (written !== 0) throw new Error(`the steady refresh wrote ${written} rows`);
  };
  for (let round = 0; round < 5; round += 1) {
    computation.push(await timed(() => worker.query(computeOnly(functions), [stores, asOf])));
    stateOnly.push(
      await timed(() => worker.query(computeOnly(functions.slice(0, 2)), [stores, asOf])),
    );
    // As after the nightly check: everything that is low is looked at.
    await bench.owner.query("truncate nexus_engine.stock_told");
    compared.push(await timed(steady));
    again.push(await timed(steady));
  }

  const [a, b, bState, c, d, e] = [full, computation, stateOnly, insert, again, compared].map(
    median,
  ) as [number, number, number, number, number, number];
  printTable(
    `Full refresh of ${stores.length} stores, ${findings} insights (median of ${full.length} and ${again.length})`,
    ["", "time", "ratio", "reach"],
    [
      ["(a) reconcile from empty", milliseconds(a), `${times(a / c)} (c)`, "2 x (c)"],
      ["(b) bare computation, four types", milliseconds(b), "", ""],
      ["    of it the two types of stock", milliseconds(bState), "", ""],
      ["(c) bare computation and insert", milliseconds(c), "", ""],
      ["(d) reconcile, nothing changed", milliseconds(d), `${times(d / b)} (b)`, "0.5 s"],
      [
        "(e) the same, all compared anew",
        milliseconds(e),
        `${times(e / bState)} of the two`,
        "0.5 s",
      ],
    ],
  );
  return { fromEmpty: a, steady: d };
}

/** One store whose insights stand, in a warm session, by the server's clock. */
export async function benchOneStore({ worker, stores }: Bench): Promise<void> {
  const client = await worker.connect();
  try {
    const reconcile = async (store: string) => {
      const { rows } = await client.query<{ ms: number }>(
        `with started as materialized (select clock_timestamp() as at),
         done as materialized (
           select count(*) as n from started cross join lateral nexus_engine.reconcile(null, array[$1::uuid], $2))
         select extract(epoch from clock_timestamp() - started.at)::float8 * 1000 as ms
         from started cross join done`,
        [store, asOf],
      );
      return rows[0]?.ms ?? Number.NaN;
    };
    for (const store of stores.slice(0, 20)) await reconcile(store);
    const figures: number[] = [];
    for (const store of stores.slice(20, 70)) figures.push(await reconcile(store));
    printTable(
      "One store, nothing changed, SQL time",
      ["", "median", "fastest", "slowest", "reach"],
      [
        [
          `(f) reconcile of one store (${figures.length} stores)`,
          milliseconds(median(figures)),
          milliseconds(Math.min(...figures)),
          milliseconds(Math.max(...figures)),
          "5 ms",
        ],
      ],
    );
  } finally {
    client.release();
  }
}

/** The same refresh in smaller calls, as the jobs make them: for the choice of STORES_PER_JOB. */
export async function benchBatches(bench: Bench): Promise<void> {
  const sizes = [100, 250, bench.stores.length];
  const fromEmpty = sizes.map((): number[] => []);
  const steady = sizes.map((): number[] => []);
  for (let round = 0; round < 2; round += 1) {
    for (const [i, size] of sizes.entries()) {
      await empty(bench);
      fromEmpty[i]?.push(await timed(() => reconcileAll(bench, size)));
    }
  }
  await settle(bench);
  for (let round = 0; round < 3; round += 1) {
    for (const [i, size] of sizes.entries()) {
      steady[i]?.push(await timed(() => reconcileAll(bench, size)));
    }
  }
  printTable(
    "The same in calls of so many stores, one after the other",
    ["stores a call", "from empty", "nothing changed", "longest transaction, about"],
    sizes.map((size, i) => [
      size,
      milliseconds(median(fromEmpty[i] ?? [])),
      milliseconds(median(steady[i] ?? [])),
      milliseconds((median(fromEmpty[i] ?? []) * size) / bench.stores.length),
    ]),
  );
}
