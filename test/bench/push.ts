import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient, type Client as GraphQLClient } from "graphql-ws";
import { Pool } from "pg";
import { WebSocket } from "ws";
import { signToken } from "../../src/graphql/token.ts";
import { withBenchDatabase } from "./database.ts";
import { milliseconds, printTable } from "./figures.ts";
import { type Arrivals, importStock, openShop, type Shop, sell } from "./shops.ts";

/**
 * From the commit of a sale to the subscriber's screen, with one process doing everything; and the
 * same while an import takes 10,000 products of one store out of stock in one transaction.
 * Run it with: npx node test/bench/push.ts. On an embedded Postgres of its own, or on the server of
 * BENCH_DATABASE_URL.
 */

const stores = 20;
const productsPerStore = 500;
const alerts = 1000;
const imported = 10_000;
const secretKey = randomBytes(32).toString("hex");
const main = join(import.meta.dirname, "../../src/main.ts");

async function benchDatabase(url: string): Promise<void> {
  const pos = new Pool({ connectionString: url, max: 10 });
  const shops = await openShops(pos);
  const importer = await openShop(pos, imported);
  await pos.query("vacuum analyze");
  const engine = spawn(process.execPath, [main], {
    env: { ...process.env, DATABASE_URL: url, SECRET_KEY: secretKey, PORT: "0", LOG_LEVEL: "warn" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const subscribers: GraphQLClient[] = [];
  try {
    const api = await address(engine);
    const arrivals: Arrivals = new Map();
    for (const shop of shops) subscribers.push(await subscribe(api, shop, arrivals));
    let lastMany = 0;
    subscribers.push(
      await subscribe(api, importer, arrivals, (at) => {
        lastMany = at;
      }),
    );
    await settled(pos);

    const before = await sell(pos, shops, arrivals, alerts);
    const memory = residentMemory(engine);
    printTable(
      `Sale commit to subscriber: ${alerts} alerts, ${shops.length} subscribers of as many stores`,
      ["", "p50", "p90", "p99", "max"],
      [row("commit to message", before.pushes), row("the sale itself", before.sales)],
    );

    const calm = await sell(pos, shops, arrivals, 100, "quiet");
    const selling = sell(pos, shops, arrivals, 300);
    const quiet = sell(pos, shops, arrivals, 300, "quiet");
    await sleep(500);
    const committing = await importStock(pos, importer);
    while ((await activeInsights(api, importer)) < imported) await sleep(100);
    // The last message comes after what it tells of.
    await sleep(500);
    const pushed = lastMany - committing.sent;
    const [during, checkout] = await Promise.all([selling, quiet]);
    printTable(
      `An import that takes ${imported} products out of stock in one transaction`,
      ["", ""],
      [
        ["the import's own statement", milliseconds(committing.statement)],
        ["commit to the message after which a query finds all", milliseconds(pushed)],
      ],
    );
    printTable(
      "Sales of other stores meanwhile",
      ["", "p50", "p90", "p99", "max"],
      [
        row("a sale without alert, before", calm.sales),
        row("a sale without alert, during", checkout.sales),
        row("a sale with alert, during", during.sales),
        row("its commit to message", during.pushes),
      ],
    );
    console.log(
      `\nResident memory of the process: ${memory}, after the import ${residentMemory(engine)}`,
    );
  } finally {
    for (const subscriber of subscribers) {
      disposed.add(subscriber);
      await subscriber.dispose();
    }
    engine.kill("SIGTERM");
    if (engine.exitCode === null) await once(engine, "exit");
    await pos.end();
  }
}

async function openShops(pos: Pool): Promise<Shop[]> {
  const shops = [];
  for (let n = 0; n < stores; n += 1) shops.push(await openShop(pos, productsPerStore));
  return shops;
}

/** Where the process listens, once it says so. */
async function address(engine: ChildProcess): Promise<string> {
  for await (const chunk of engine.stdout ?? []) {
    const found = /http\S+\/graphql/.exec(String(chunk))?.[0];
    if (found) return found;
  }
  throw new Error("the process ended before it listened");
}

/** Calls who waits for an alert about a product, and `onMany` when there were too many to name. */
async function subscribe(
  api: string,
  { user }: Shop,
  arrivals: Arrivals,
  onMany?: (at: number) => void,
): Promise<GraphQLClient> {
  const client = createClient({
    url: api.replace("http", "ws"),
    webSocketImpl: WebSocket,
    connectionParams: { authorization: await bearer(user) },
    retryAttempts: 0,
  });
  const begun = Promise.withResolvers<void>();
  // Its messages would be waited for in vain.
  const fail = (error: unknown) => {
    if (disposed.has(client)) return;
    console.error(error);
    process.exit(1);
  };
  let first = true;
  client.subscribe<{ insightChanged: InsightChanges }>(
    {
      query:
        "subscription { insightChanged { refetch changes { kind insight { mensaje extraData } } } }",
    },
    {
      next({ data }) {
        const at = performance.now();
        if (first) begun.resolve();
        else if (data?.insightChanged.refetch) onMany?.(at);
        first = false;
        for (const { insight } of data?.insightChanged.changes ?? []) {
          const product = insight?.extraData.producto_id ?? "";
          arrivals.get(product)?.(at);
          arrivals.delete(product);
        }
      },
      error: fail,
      complete: () => fail(new Error("a subscription ended")),
    },
  );
  await begun.promise;
  return client;
}

const disposed = new WeakSet<GraphQLClient>();

type InsightChanges = {
  refetch: boolean;
  changes: { insight: { extraData: { producto_id?: string } } | null }[];
};

async function bearer(user: string): Promise<string> {
  return `Bearer ${await signToken(user, new TextEncoder().encode(secretKey), 3600)}`;
}

/** Nothing to do any more: the worker's first pass over everything has ended. */
async function settled(pos: Pool): Promise<void> {
  for (;;) {
    const { rowCount } = await pos.query("select from graphile_worker.jobs limit 1");
    if (!rowCount) break;
    await sleep(100);
  }
  await sleep(500);
}

async function activeInsights(api: string, { user }: Shop): Promise<number> {
  const response = await fetch(api, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: await bearer(user) },
    body: JSON.stringify({ query: "{ insightStats { active } }" }),
  });
  const { data } = (await response.json()) as { data: { insightStats: { active: number } } };
  return data.insightStats.active;
}

function residentMemory({ pid }: ChildProcess): string {
  try {
    const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return `${(Number(kilobytes) / 1024).toFixed(0)} MB`;
  } catch {
    return "unknown";
  }
}

function row(name: string, values: number[]): string[] {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;
  return [name, ...[0.5, 0.9, 0.99, 1].map((q) => milliseconds(at(q)))];
}

await withBenchDatabase("push", benchDatabase);
