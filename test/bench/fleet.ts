import { parseArgs } from "node:util";
import type { Client } from "pg";
import { asOwner, withBenchDatabase } from "./database.ts";
import { median, milliseconds, numberOption, printTable, quantile, times } from "./figures.ts";
import { benchFairness, type Fairness } from "./fleet/fairness.ts";
import {
  empty,
  makeStores,
  pauseSchedules,
  sellInEachStore,
  settle,
  untilIdle,
} from "./fleet/fleet.ts";
import { countsStatements, type Pass, runPass } from "./fleet/pass.ts";
import { startWorkers } from "./fleet/workers.ts";

/**
 * The hourly dispatch of 10,000 stores with 200 products, from being enqueued to the end of its last
 * job, by 1, 2 and 4 worker processes: from empty, with nothing changed, after a sale in each store.
 * Then how long stores wait that ask for a refresh while others keep the workers busy.
 * Run it with: npx node test/bench/fleet.ts [--stores 10000] [--rounds 2]
 * On an embedded Postgres of its own, or on the server of BENCH_DATABASE_URL.
 */

const { values: options } = parseArgs({
  options: {
    stores: { type: "string", default: "10000" },
    rounds: { type: "string", default: "2" },
  },
});
const stores = numberOption("stores", options.stores, 100);
const rounds = numberOption("rounds", options.rounds, 1);
const processCounts = [1, 2, 4];
/** How many there are when stores ask for a refresh. */
const askedProcesses = 2;

const kinds = ["from empty", "nothing changed", "after a sale in each store"] as const;
type Kind = (typeof kinds)[number];

async function bench(url: string): Promise<void> {
  await asOwner(url, async (owner) => {
    const since = performance.now();
    console.log(`Making ${stores} stores ...`);
    await makeStores(owner, stores);
    await prepare(url, owner);
    console.log(`  done in ${milliseconds(performance.now() - since)}`);
    if (!(await countsStatements(owner))) {
      console.log("Statements are not counted: the server lacks pg_stat_statements.");
    }
    printPasses(await benchPasses(url, owner));
    const workers = await startWorkers(url, askedProcesses);
    try {
      printFairness(await benchFairness(url, owner));
    } finally {
      await workers.stop();
    }
    console.log(`\nTook ${milliseconds(performance.now() - since)}`);
  });
}

/** What the first worker that ever starts has to do: check_stock, rollups, every insight. */
async function prepare(url: string, owner: Client): Promise<void> {
  const workers = await startWorkers(url, 1);
  try {
    await pauseSchedules(owner);
    // Two share the stores between them.
    await owner.query("select graphile_worker.add_job('roll_up') from generate_series(1, 2)");
    await untilIdle(owner);
  } finally {
    await workers.stop();
  }
  await owner.query("vacuum (analyze)");
}

/** The passes of each number of processes in turn, then in the reverse order. */
async function benchPasses(url: string, owner: Client): Promise<Map<string, Pass[]>> {
  const passes = new Map<string, Pass[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const count of round % 2 === 0 ? processCounts : processCounts.toReversed()) {
      const workers = await startWorkers(url, count);
      try {
        await untilIdle(owner);
        const measure = async (kind: Kind) => {
          const pass = await runPass(owner, workers.pids, stores);
          const key = keyOf(kind, count);
          passes.set(key, [...(passes.get(key) ?? []), pass]);
        };
        await empty(owner);
        await measure("from empty");
        await settle(owner);
        await measure("nothing changed");
        await sellInEachStore(owner);
        await measure("after a sale in each store");
      } finally {
        await workers.stop();
      }
    }
  }
  return passes;
}

const keyOf = (kind: Kind, count: number) => `${kind}, ${count}`;

function printPasses(passes: Map<string, Pass[]>): void {
  for (const kind of kinds) {
    const of = (count: number, key: keyof Pass) =>
      median((passes.get(keyOf(kind, count)) ?? []).map((pass) => pass[key]));
    printTable(
      `Hourly dispatch of ${stores} stores to done, ${kind}; medians of ${rounds}`,
      [
        "processes",
        "time",
        "one process",
        "stores/s",
        "CPU workers",
        "CPU Postgres",
        "statements/store",
        "WAL/store",
        "written",
      ],
      processCounts.map((count) => [
        count,
        milliseconds(of(count, "seconds") * 1000),
        times(of(1, "seconds") / of(count, "seconds")),
        (stores / of(count, "seconds")).toFixed(0),
        milliseconds(of(count, "workerCpu") * 1000),
        milliseconds(of(count, "postgresCpu") * 1000),
        (of(count, "statements") / stores).toFixed(3),
        `${(of(count, "walBytes") / stores).toFixed(0)} B`,
        of(count, "written"),
      ]),
    );
  }
}

function printFairness(results: Fairness[]): void {
  const idle = quantile(results[0]?.latencies ?? [], 0.5);
  printTable(
    `A refresh that a store asks for, to done; 20 stores, ${askedProcesses} processes`,
    [
      "meanwhile",
      "p50",
      "p99",
      "of 20 asked during",
      "others' jobs",
      "their longest",
      "waited at most that",
    ],
    results.map(({ name, latencies, during, others, longestMs }) => [
      name,
      milliseconds(quantile(latencies, 0.5)),
      milliseconds(quantile(latencies, 0.99)),
      during,
      others,
      milliseconds(longestMs),
      others === 0 ? "" : quantile(latencies, 1) - idle <= longestMs ? "yes" : "no",
    ]),
  );
}

await withBenchDatabase("fleet", bench, {
  shared_preload_libraries: "pg_stat_statements",
  // No checkpoint in between: the WAL is what was changed, not whole pages because of when that was.
  checkpoint_timeout: "1h",
  max_wal_size: "16GB",
});
