import type { Pool } from "pg";
import type { Config } from "./config.ts";
import { type Database, openDatabase } from "./database/open.ts";
import { createPool } from "./database/pools.ts";
import { secretKeys } from "./graphql/token.ts";
import { startHttp } from "./http.ts";
import { createLog, type Logger } from "./log.ts";
import { startWorker } from "./worker/run.ts";

export type Halves = { worker: boolean; server: boolean };

export type Engine = {
  database: Database;
  log: Logger;
  /** Address of the HTTP server; undefined without it. */
  url: string | undefined;
  /** Rejects when a half ends by a fault. */
  failed: Promise<unknown>;
  stop(): Promise<void>;
};

/** Opens the database and starts the halves that are wanted, in one process. */
export async function startEngine(
  config: Config,
  halves: Halves,
  options: { createPosSchema?: boolean } = {},
): Promise<Engine> {
  const log = createLog(config.logLevel);
  const stops: (() => Promise<void>)[] = [];
  // In the reverse order of the start: HTTP, then the worker, then the pools, then Postgres.
  const stop = async () => {
    for (const next of stops.splice(0).reverse()) await next();
  };
  try {
    const database = await openDatabase(config, log, options);
    stops.push(() => database.close());

    let failed: Promise<unknown> = new Promise(() => {});
    if (halves.worker) {
      const pool = createPool({
        connectionString: database.workerUrl,
        log,
        max: config.workerConcurrency + 4,
        name: "nexus-worker",
        role: "nexus_worker",
      });
      stops.push(() => pool.end());
      const worker = await startWorker({
        pool,
        concurrency: config.workerConcurrency,
        settings: config,
        log,
      });
      failed = worker.ended;
      stops.push(() => worker.stop());
    }

    let url: string | undefined;
    if (halves.server) {
      const pool = createPool({
        connectionString: database.serverUrl,
        log,
        // One of them listens for announcements.
        max: 11,
        name: "nexus-server",
        role: "nexus_server",
      });
      stops.push(() => pool.end());
      const http = await startHttp({
        host: config.host,
        port: config.port ?? 4000,
        nextFreePort: config.port === undefined,
        environment: config.environment,
        secretKeys: secretKeys(database.secretKey, config.previousSecretKey),
        pool,
        statementTimeoutMs: config.statementTimeoutMs,
        mutationLimits: config.mutationLimits,
        corsOrigins: config.corsOrigins,
        log,
        isReady: () => answers(pool),
      });
      url = http.url;
      stops.push(() => http.close());
    }
    return { database, log, url, failed, stop };
  } catch (error) {
    await stop().catch((err: unknown) => log.error({ err }, "the stop was not clean"));
    throw error;
  }
}

async function answers(pool: Pool): Promise<boolean> {
  try {
    await pool.query("select 1");
    return true;
  } catch {
    return false;
  }
}
