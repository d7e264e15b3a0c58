import { execFile } from "node:child_process";
import { availableParallelism, cpus, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { Client } from "pg";
import { readConfig } from "../../src/config.ts";
import { startEmbedded } from "../../src/database/embedded.ts";
import { createPool } from "../../src/database/pools.ts";
import { createLog } from "../../src/log.ts";
import { openDataset } from "./dataset.ts";
import { benchGuide } from "./guide.ts";
import { printHttp } from "./http.ts";
import {
  type Bench,
  benchBatches,
  benchOneStore,
  benchRefresh,
  empty,
  reconcileAll,
  settle,
} from "./refresh.ts";
import { withBenchServer } from "./server.ts";

/**
 * What the engine does for 1,000 stores, and the GraphQL API on top: `npx node test/bench/engine.ts`, on an
 * embedded Postgres of its own, or on the server of BENCH_DATABASE_URL.
 */
async function main(): Promise<void> {
  const since = performance.now();
  const given = process.env.BENCH_DATABASE_URL;
  const embedded = given
    ? undefined
    : await startEmbedded({
        dataDir: resolve(readConfig().dataDir, "bench"),
        log: { info: (line) => console.log(line), warn: (line) => console.warn(line) },
      });
  try {
    await benchServer(given ?? embedded?.connectionString ?? "");
  } finally {
    await embedded?.stop();
  }
  console.log(`\nPeak RSS of this process, HTTP server included: ${peakMemory()}`);
  console.log(`Took ${((performance.now() - since) / 1000).toFixed(0)} s`);
}

async function benchServer(serverUrl: string): Promise<void> {
  const url = await openDataset(serverUrl);
  const log = createLog("warn");
  const owner = new Client({ connectionString: url });
  await owner.connect();
  const worker = createPool({
    connectionString: url,
    log,
    max: 2,
    name: "nexus-bench",
    role: "nexus_worker",
  });
  try {
    await printMachine(owner);
    const { rows } = await owner.query<{ id: string }>("select id from public.tiendas order by id");
    const bench = { owner, worker, stores: rows.map((row) => row.id) };
    const figures = await benchRefresh(bench);
    await benchOneStore(bench);
    await benchBatches(bench);
    console.log(`\nPeak RSS of this process so far: ${peakMemory()}`);
    await benchGuide(bench, figures);
    await benchHttp(bench, url);
  } finally {
    await worker.end();
    await owner.end();
  }
}

function peakMemory(): string {
  return `${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MB`;
}

async function printMachine(owner: Client): Promise<void> {
  const { rows } = await owner.query<{ version: string; settings: string }>(
    `select current_setting('server_version') as version,
       string_agg(name || ' ' || current_setting(name), ', ') as settings
     from unnest(array['shared_buffers', 'work_mem', 'fsync', 'max_parallel_workers_per_gather']) name`,
  );
  console.log(`
${availableParallelism()} cores (${cpus()[0]?.model}), ${(totalmem() / 2 ** 30).toFixed(0)} GB of memory, Node ${process.version}
Postgres ${rows[0]?.version}: ${rows[0]?.settings}`);
}

/** The real server in this process, asked by another one. */
async function benchHttp(bench: Bench, databaseUrl: string): Promise<void> {
  await empty(bench);
  await reconcileAll(bench, bench.stores.length);
  await settle(bench);
  await withBenchServer(databaseUrl, 10, async ({ url, tokenOf }) => {
    const { rows } = await bench.owner.query<{ id: string }>(
      "select id from public.users order by id limit 1",
    );
    const token = await tokenOf(rows[0]?.id ?? "");
    const client = join(import.meta.dirname, "http.ts");
    const { stdout } = await promisify(execFile)(process.execPath, [client, url, token]);
    printHttp(JSON.parse(stdout));
  });
}

await main();
