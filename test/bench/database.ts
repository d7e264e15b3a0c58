import { resolve } from "node:path";
import { Client, type ClientBase, type Pool } from "pg";
import { readConfig } from "../../src/config.ts";
import { startEmbedded } from "../../src/database/embedded.ts";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";

/**
 * Runs `work` on a database of its own with the POS's tables and our schemas, dropped afterwards: on
 * an embedded Postgres, or on the server of BENCH_DATABASE_URL.
 * @param settings of the embedded server, unless it is running already.
 */
export async function withBenchDatabase(
  name: string,
  work: (url: string) => Promise<void>,
  settings: Record<string, string> = {},
): Promise<void> {
  const prepared = async (url: string) => {
    await prepareDatabase(url, createLog("warn"), { createPos: true });
    await work(url);
  };
  await withEmptyDatabase(name, prepared, settings);
}

/** The same without a table in it. */
export async function withEmptyDatabase(
  name: string,
  work: (url: string) => Promise<void>,
  settings: Record<string, string> = {},
): Promise<void> {
  const given = process.env["BENCH_DATABASE_URL"];
  const embedded = given
    ? undefined
    : await startEmbedded({
        dataDir: resolve(readConfig().dataDir, "bench"),
        log: { info: () => {}, warn: (line) => console.warn(line) },
        settings,
      });
  const server = given ?? embedded?.connectionString ?? "";
  const database = `nexus_bench_${name}_${process.pid}`;
  const url = Object.assign(new URL(server), { pathname: `/${database}` }).toString();
  try {
    await asOwner(server, (owner) => owner.query(`create database ${database}`));
    await work(url);
  } finally {
    await asOwner(server, (owner) =>
      owner.query(`drop database if exists ${database} with (force)`),
    );
    await embedded?.stop();
  }
}

/** No insight, and no memory of any. */
export async function forgetInsights(owner: ClientBase | Pool): Promise<void> {
  await owner.query(
    "truncate public.insights, nexus_engine.open_insight, nexus_engine.stock_told, nexus_engine.sales_changed, nexus_engine.store_failure",
  );
}

export async function asOwner<T>(url: string, work: (owner: Client) => Promise<T>): Promise<T> {
  const owner = new Client({ connectionString: url, options: "-c TimeZone=UTC" });
  await owner.connect();
  try {
    return await work(owner);
  } finally {
    await owner.end();
  }
}
