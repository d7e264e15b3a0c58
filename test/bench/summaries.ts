import { resolve } from "node:path";
import { Client } from "pg";
import { readConfig } from "../../src/config.ts";
import { startEmbedded } from "../../src/database/embedded.ts";
import { createPool } from "../../src/database/pools.ts";
import { createLog } from "../../src/log.ts";
import { rollUp } from "../support/rollups.ts";
import { openDataset } from "./dataset.ts";
import { milliseconds, printTable, timed } from "./figures.ts";
import { fillStockWatch } from "./refresh.ts";

/**
 * The daily summaries of 1,000 stores with 3 million tickets in 60 days, in one transaction each:
 * `npx node test/bench/summaries.ts`. The evening is Sunday 2026-03-01, 20:00 in Buenos Aires.
 */
const evening = "2026-03-01T23:01:00Z";
const midnight = "2026-03-02T03:01:00Z";
const morning = "2026-03-02T12:00:00Z";

async function main(): Promise<void> {
  const embedded = await startEmbedded({
    dataDir: resolve(readConfig().dataDir, "bench"),
    log: { info: (line) => console.log(line), warn: (line) => console.warn(line) },
  });
  try {
    await bench(await openDataset(embedded.connectionString));
  } finally {
    await embedded.stop();
  }
}

async function bench(url: string): Promise<void> {
  const owner = new Client({ connectionString: url });
  await owner.connect();
  const worker = createPool({
    connectionString: url,
    log: createLog("warn"),
    max: 2,
    name: "nexus-bench",
    role: "nexus_worker",
  });
  try {
    const { rows } = await owner.query<{ id: string }>("select id from public.tiendas order by id");
    const stores = rows.map(({ id }) => id);
    await rollUp(worker);
    // Alerts of stock are told: they are not measured here.
    await fillStockWatch({ owner, worker, stores });
    await owner.query("delete from nexus_engine.open_insight where tipo like 'VENTAS%'");
    await owner.query("delete from public.insights where tipo like 'VENTAS%'");
    await owner.query("vacuum analyze public.insights, nexus_engine.open_insight");
    // As a live POS is in the evening: the days before are rolled up, the running one is not.
    await owner.query(
      "update nexus_engine.rollup_state set through = '2026-02-28', next_ends_at = '2026-03-02T03:00Z'",
    );
    await owner.query("vacuum analyze nexus_engine.store_day");
    const figures: [string, number, string][] = [];
    const pass = async (what: string, at: string, prepare?: () => Promise<unknown>) => {
      await prepare?.();
      let jobs = 0;
      const looking = await timed(async () => {
        const { rows } = await worker.query(
          "select stores from nexus_engine.dispatch('bench', array['VENTAS_DIARIAS'], $1, 250)",
          [at],
        );
        jobs = rows[0].stores;
      });
      let done = { inserted: 0, updated: 0 };
      const took = await timed(async () => {
        const { rows } = await worker.query(
          "select * from nexus_engine.reconcile(array['VENTAS_DIARIAS'], $1, $2)",
          [stores, at],
        );
        done = rows[0];
      });
      figures.push([
        what,
        took,
        `${done.inserted} told, ${done.updated} changed, ${jobs} due, found in ${milliseconds(looking)}`,
      ]);
    };
    const annul = () =>
      owner
        .query(
          `update public.ventas set status_pago = 'anulado' where id in (
             select distinct on (tienda_id) id from public.ventas
             where tienda_id = any ($1) and fecha > '2026-03-01T12:00Z' and fecha < '2026-03-01T20:00Z'
               and status_pago = 'pagado')`,
          [stores.slice(0, 10)],
        )
        .then(() => rollUp(worker));
    await pass("first telling at 20:00", evening);
    await pass("the tick after", "2026-03-01T23:06:00Z");
    await pass("a look for late changes, at 20:15", "2026-03-01T23:16:00Z");
    await pass("completed at midnight", midnight);
    await pass("once more when the day is rolled up", morning, () => rollUp(worker));
    await pass("10 stores annulled a ticket", morning, annul);
    await pass("nothing changed", morning);
    printTable(
      "VENTAS_DIARIAS of 1,000 stores, one transaction",
      ["", "time", ""],
      figures.map(([what, took, done]) => [what, milliseconds(took), done]),
    );
  } finally {
    await worker.end();
    await owner.end();
  }
}

await main();
