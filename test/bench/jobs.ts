import { execFile } from "node:child_process";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import { parentOf } from "./cpu.ts";
import { asOwner, withBenchDatabase } from "./database.ts";
import { median, milliseconds, printTable, quantile, times } from "./figures.ts";
import type { ContenderOptions } from "./jobs/contender.ts";
import type { Kind, Measured, Order } from "./jobs/measure.ts";
import { installPackages, packages } from "./jobs/packages.ts";
import { startRedis } from "./jobs/redis.ts";

/**
 * Trivial jobs through our worker, beside Graphile Worker alone, pg-boss and BullMQ: how many a second,
 * and how soon after its commit a single one begins. Run it with: npx node test/bench/jobs.ts [--jobs N]
 * [--singles N] [--rounds N]. On an embedded Postgres of its own, or on the server of
 * BENCH_DATABASE_URL; BullMQ on a Redis of its own, where redis-server is on the PATH.
 */

type Entry = Pick<ContenderOptions, "concurrency" | "batch"> & { kind: Kind; name: string };

const ours: Entry = { kind: "ours", name: "ours, as it comes", concurrency: 4, batch: 0 };
const bare: Entry = { kind: "bare", name: "graphile-worker, the same", concurrency: 4, batch: 0 };
const ours24: Entry = { kind: "ours", name: "ours, 24 at once", concurrency: 24, batch: 0 };
const bare24: Entry = {
  kind: "bare",
  name: "graphile-worker, 24 at once",
  concurrency: 24,
  batch: 0,
};
/** What Graphile Worker's own benchmark uses. We cannot: see src/worker/runner.ts. */
const bestBare: Entry = {
  kind: "bare",
  name: "graphile-worker, 24 at once, fetching 500",
  concurrency: 24,
  batch: 500,
};
/** Its smallest batch that is followed by the next without a pause: nearest to job by job, as we are. */
const pgBoss2: Entry = { kind: "pgBoss", name: "pg-boss, 24 x 2", concurrency: 24, batch: 2 };
const pgBoss: Entry = { kind: "pgBoss", name: "pg-boss, 4 x 500", concurrency: 4, batch: 500 };
const bullMq: Entry = { kind: "bullMq", name: "BullMQ, 100 at once", concurrency: 100, batch: 0 };

/** No contender takes longer, or it hangs. */
const measureMs = 90_000;

async function bench(jobs: number, singles: number, rounds: number): Promise<void> {
  const packagesDir = await installPackages();
  const entries = [ours, bare, ours24, bare24, bestBare];
  if (packagesDir) entries.push(pgBoss2, pgBoss);
  if (packagesDir && (await hasRedis())) entries.push(bullMq);
  const measured = new Map<Entry, Measured[]>(entries.map((entry) => [entry, []]));
  await withBenchDatabase("jobs", async (url) => {
    for (let round = 0; round < rounds; round += 1) {
      for (const entry of entries) {
        const run = () =>
          withStore(entry, url, (store) =>
            measure({ ...entry, ...store, packagesDir: packagesDir ?? "", jobs, singles }),
          );
        measured
          .get(entry)
          ?.push(await (entry.kind === "bare" ? onceMore(entry.name, run) : run()));
      }
    }
  });
  print(measured, jobs, singles, rounds);
}

/** Graphile Worker alone stops for good when ending its jobs meets a deadlock, which happens. */
async function onceMore<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    console.log(`${name} failed and is measured once more: ${error}`);
    return work();
  }
}

async function hasRedis(): Promise<boolean> {
  const redis = await startRedis();
  await redis?.stop();
  if (!redis) {
    console.log("BullMQ is skipped: no redis-server on the PATH (apt-get install redis-server)");
  }
  return redis !== undefined;
}

type Store = { url: string; storePid: number };

/** With an empty store. */
async function withStore<T>(
  { kind }: Entry,
  url: string,
  work: (store: Store) => Promise<T>,
): Promise<T> {
  if (kind !== "bullMq") return work({ url, storePid: await emptyDatabase(url) });
  const redis = await startRedis();
  if (!redis) throw new Error("redis-server does not start any more");
  return work({ url: redis.url, storePid: redis.pid }).finally(() => redis.stop());
}

async function measure(order: Order): Promise<Measured> {
  const script = join(import.meta.dirname, "jobs/measure.ts");
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    [script, JSON.stringify(order)],
    { timeout: measureMs, maxBuffer: 2 ** 26 },
  );
  process.stderr.write(stderr);
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
}

/**
 * Nothing is left of the contender before, and what it left to be written is. Returns the server's
 * first process.
 */
async function emptyDatabase(url: string): Promise<number> {
  return asOwner(url, async (owner) => {
    await owner.query("truncate graphile_worker._private_jobs, nexus_engine.job_run");
    await owner.query("drop schema if exists pgboss cascade");
    await owner.query("checkpoint");
    const { rows } = await owner.query<{ pid: number }>("select pg_backend_pid() as pid");
    return parentOf(rows[0]?.pid ?? 0);
  });
}

function print(
  measured: Map<Entry, Measured[]>,
  jobs: number,
  singles: number,
  rounds: number,
): void {
  const perSecond = (entry: Entry) =>
    median((measured.get(entry) ?? []).map((figures) => figures.jobsPerSecond));
  printTable(
    `${jobs} trivial jobs, median of ${rounds} rounds in turns`,
    ["", "jobs/s", "slowest", "fastest", "ratio", "CPU a job", "of the store's"],
    [...measured].map(([entry, figures]) => {
      const all = figures.map(({ jobsPerSecond }) => jobsPerSecond);
      return [
        entry.name,
        perSecond(entry).toFixed(0),
        Math.min(...all).toFixed(0),
        Math.max(...all).toFixed(0),
        times(perSecond(entry) / perSecond(ours)),
        milliseconds(median(figures.map((f) => f.workerCpu)) / 1000),
        milliseconds(median(figures.map((f) => f.storeCpu)) / 1000),
      ];
    }),
  );
  const compared: [string, Entry, Entry, string][] = [
    ["ours / graphile-worker, the same settings", ours, bare, "0.50 x"],
    ["the same, 24 at once", ours24, bare24, "0.50 x"],
    ["ours, 24 at once / graphile-worker at its best", ours24, bestBare, ""],
    ["ours, 24 at once / pg-boss, nearest to job by job", ours24, pgBoss2, "1.00 x"],
    ["ours, 24 at once / pg-boss, 500 jobs a call", ours24, pgBoss, ""],
    ["ours, 24 at once / BullMQ", ours24, bullMq, ""],
  ];
  printTable(
    "What that is in ratios",
    ["", "ratio", "reach"],
    compared
      .filter(([, , other]) => measured.has(other))
      .map(([title, one, other, reach]) => [
        title,
        times(perSecond(one) / perSecond(other)),
        reach,
      ]),
  );
  printTable(
    `From the commit of one job to its start, ${singles} jobs a round, nothing else to do`,
    ["", "p50", "p95", "p99"],
    [...measured].map(([entry, figures]) => {
      const all = figures.flatMap(({ latencies }) => latencies);
      return [entry.name, ...[0.5, 0.95, 0.99].map((q) => milliseconds(quantile(all, q)))];
    }),
  );
  console.log(`
Ours checks each payload and keeps its ledger. ${Object.entries(packages)
    .map(([name, version]) => `${name} ${version}`)
    .join(", ")}; Redis with an append-only file,
written to disk every second, Postgres at every commit. A transaction of Postgres enqueues a job of
BullMQ only when nothing goes wrong in between: its latency is from add().`);
}

const { values: options } = parseArgs({
  options: {
    jobs: { type: "string", default: "20000" },
    singles: { type: "string", default: "200" },
    rounds: { type: "string", default: "3" },
  },
});
await bench(Number(options.jobs), Number(options.singles), Number(options.rounds));
