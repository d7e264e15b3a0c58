import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Pool } from "pg";
import { withBenchDatabase } from "./database.ts";
import { median, numberOption, printTable } from "./figures.ts";
import { type Engine, startEngine } from "./memory/engine.ts";
import { measureLeftovers } from "./memory/leftovers.ts";
import { type Operation, operate } from "./memory/operation.ts";
import { openScreens } from "./memory/screens.ts";
import { openShop } from "./shops.ts";

/**
 * Memory of one process that does everything (npm start) through hours of operation of 100 stores:
 * the crontab's ticks, sales, orders to refresh, queries, subscriptions opened and closed. Resident
 * memory after five minutes and after each hour; then after two full collections, an hour apart, which
 * tells a leak from garbage that V8 had no reason to collect yet; last, what one query and one
 * subscription leave behind.
 * Run it with: npx node test/bench/memory.ts [--hours 3] [--minutes 0] [--stores 100] [--distinct]
 *   [--snapshots PREFIX]
 *   --minutes: how long an hour takes, 60 for real time; 0 does what an hour brings without a pause.
 *   --distinct: no two documents have the same text.
 *   --snapshots: writes heap snapshots at the two collections, to compare in a browser's tools.
 * On an embedded Postgres of its own, or on the server of BENCH_DATABASE_URL.
 */

const { values: options } = parseArgs({
  options: {
    hours: { type: "string", default: "3" },
    minutes: { type: "string", default: "0" },
    stores: { type: "string", default: "100" },
    distinct: { type: "boolean", default: false },
    snapshots: { type: "string" },
  },
});
const hours = numberOption("hours", options.hours, 1);
const minuteMs = numberOption("minutes", options.minutes, 0) * 1000;
const stores = numberOption("stores", options.stores, 1);
const productsPerStore = 100;
/** A value of memory is the median of so many minutes' samples, a sample every so many milliseconds. */
const windowMinutes = 5;
const sampleMs = minuteMs > 2000 ? 1000 : 250;

/** V8 keeps the pages of what was collected for some seconds, in case they are needed again. */
const givenBackMs = 12_000;

type Sample = NodeJS.MemoryUsage & { minute: number; requests: number };

async function bench(url: string): Promise<void> {
  const pos = new Pool({ connectionString: url, max: 10 });
  let engine: Engine | undefined;
  try {
    const shops = [];
    for (let n = 0; n < stores; n += 1) shops.push(await openShop(pos, productsPerStore));
    await pos.query("update public.productos set stock_actual = 12 + floor(random() * 28)");
    await pos.query("vacuum analyze");
    engine = await startEngine(url);
    const screens = openScreens(engine.api, engine.secretKey, options.distinct);
    const operation = operate(pos, shops, screens, new Date());
    const since = performance.now();
    const samples = await sampled(engine, operation, 0, hours * 60);
    const took = (performance.now() - since) / 1000;
    printMemory(samples, took);

    const live: Sample[] = [];
    for (const hour of [hours, hours + 1]) {
      if (hour > hours) await sampled(engine, operation, hours * 60, hour * 60);
      const snapshot = options.snapshots && `${options.snapshots}.${hour}h.heapsnapshot`;
      await idle(pos);
      await engine.ask({ ask: "collect", ...(snapshot && { snapshot }) });
      await sleep(givenBackMs);
      const usage = await engine.ask({ ask: "collect" });
      live.push({ ...usage, minute: hour * 60, requests: requests(operation) });
    }
    printLive(live);
    await operation.end();
    const leftovers = await measureLeftovers(engine, screens, shops, 4000);
    printTable(
      "What stays in the heap for good",
      ["of", "times", "bytes each"],
      leftovers.map(({ name, count, bytes }) => [name, count, bytes.toFixed(0)]),
    );
    const { counts } = operation;
    printTable(
      `What was done in ${hours + 1} hours of ${stores} stores`,
      ["", ""],
      [
        ...Object.entries(counts),
        ["messages to subscribers", screens.messages],
        ["jobs that ended well", await succeeded(pos)],
      ],
    );
  } finally {
    await engine?.stop();
    await pos.end();
  }
}

const requests = ({ counts }: Operation) => counts.queries + counts.requests;

/** Operates from one minute to another, and looks at the memory meanwhile. */
async function sampled(
  engine: Engine,
  operation: Operation,
  from: number,
  until: number,
): Promise<Sample[]> {
  const samples: Sample[] = [];
  let minute = from;
  let ended = false;
  const look = async () => {
    while (!ended) {
      const usage = await engine.ask({ ask: "usage" });
      samples.push({ ...usage, minute, requests: requests(operation) });
      await sleep(sampleMs);
    }
  };
  const operated = async () => {
    const since = performance.now();
    for (; minute < until; minute += 1) {
      await operation.minute(minute);
      await sleep(Math.max(0, since + (minute - from + 1) * minuteMs - performance.now()));
    }
  };
  await Promise.all([look(), operated().finally(() => (ended = true))]);
  return samples;
}

function printMemory(samples: Sample[], seconds: number): void {
  const at = (minute: number) => {
    const window = samples.filter((s) => s.minute >= minute - windowMinutes && s.minute < minute);
    const of = (key: keyof Sample) => median(window.map((sample) => sample[key]));
    return { rss: of("rss"), heap: of("heapTotal"), external: of("external"), n: of("requests") };
  };
  // The first five minutes are the start itself: what stands after them is seen in the next five.
  const first = at(2 * windowMinutes);
  const rows = Array.from({ length: hours }, (_, hour) => at((hour + 1) * 60));
  printTable(
    `Memory of the process, ${hours} hours of ${stores} stores in ${seconds.toFixed(0)} s`,
    ["after", "requests", "RSS", "V8's heap", "external", "RSS, ratio"],
    [first, ...rows].map(({ rss, heap, external, n }, hour) => [
      hour === 0 ? "5 minutes" : `${hour} h`,
      n.toFixed(0),
      megabytes(rss),
      megabytes(heap),
      megabytes(external),
      (rss / first.rss).toFixed(3),
    ]),
  );
  console.log("\nGrowth of RSS a thousand requests");
  for (const [hour, row] of rows.entries()) {
    const before = rows[hour - 1] ?? first;
    console.log(`  in hour ${hour + 1}: ${perThousand(row.rss - before.rss, row.n - before.n)}`);
  }
}

function printLive([before, after]: Sample[]): void {
  if (!before || !after) return;
  const n = after.requests - before.requests;
  printTable(
    "After a full collection: what is in use",
    ["", `${before.minute / 60} h`, `${after.minute / 60} h`, "a thousand requests"],
    (["heapUsed", "heapTotal", "external", "rss"] as const).map((key) => [
      key,
      megabytes(before[key]),
      megabytes(after[key]),
      perThousand(after[key] - before[key], n),
    ]),
  );
}

const megabytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
const perThousand = (bytes: number, n: number) => `${((bytes / 1024 / n) * 1000).toFixed(0)} kB`;

/** Until no job is left: what runs holds memory of its own. */
async function idle(pos: Pool): Promise<void> {
  for (;;) {
    const { rowCount } = await pos.query("select from graphile_worker.jobs limit 1");
    if (!rowCount) return;
    await sleep(100);
  }
}

/** Throws when a job did not. */
async function succeeded(pos: Pool): Promise<number> {
  const { rows } = await pos.query<{ outcome: string; n: number }>(
    "select outcome, count(*)::int as n from nexus_engine.job_run group by 1",
  );
  const [only, ...others] = rows;
  if (only?.outcome === "succeeded" && others.length === 0) return only.n;
  throw new Error(`expected that every job succeeded, got ${JSON.stringify(rows)}`);
}

await withBenchDatabase("memory", bench);
