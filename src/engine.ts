import type { Pool } from "pg";
import type { Config } from "./config.ts";
import { keepRunning } from "./database/keep-running.ts";
import { type Database, openDatabase } from "./database/open.ts";
import { createPool } from "./database/pools.ts";
import { type SuspensionWatch, shareWatch } from "./database/suspension.ts";
import { secretKeys } from "./graphql/token.ts";
import { createHealth, type Health } from "./health.ts";
import { startHttp } from "./http.ts";
import { adoptStandardError, createLog, type Logger } from "./log.ts";
import { within } from "./within.ts";
import { startWorker } from "./worker/run.ts";

export type Halves = { worker: boolean; server: boolean };

export type Engine = {
  database: Database;
  log: Logger;
  /** Address of the HTTP server; undefined without it. */
  url: string | undefined;
  /** Why nothing works yet, where that is so. */
  suspended: string | undefined;
  /** Rejects when a half ends by a fault. */
  failed: Promise<unknown>;
  stop(): Promise<void>;
};

/** Opens the database and starts the halves that are wanted, in one process. */
export async function startEngine(
  config: Config,
  halves: Halves,
  options: { createPosSchema?: boolean; signal?: AbortSignal } = {},
): Promise<Engine> {
  const log = createLog(config.logLevel);
  const health = createHealth();
  const giveBackStandardError = adoptStandardError(log);
  const stops: (() => Promise<void>)[] = [async () => giveBackStandardError()];
  // In the reverse order of the start: HTTP, then the worker, then the pools, then Postgres.
  const stop = async () => {
    for (const next of stops.splice(0).reverse()) await next();
  };
  try {
    const database = await openDatabase(config, log, { ...options, halves });
    stops.push(() => database.close());

    let failed: Promise<unknown> = new Promise(() => {});
    let suspension: SuspensionWatch | undefined;
    /** One for both halves. */
    const watch = async (pool: Pool) => {
      const shared = await shareWatch(suspension, pool, log);
      stops.push(shared.release);
      suspension = shared.suspension;
      return suspension;
    };
    if (halves.worker) {
      const { workerUrl, workerDirectUrl } = database;
      const concurrency = config.workerConcurrency;
      const workerPool = (connectionString: string, max: number) => {
        const pool = createPool({
          connectionString,
          log,
          max,
          name: "nexus-worker",
          role: "nexus_worker",
        });
        stops.push(() => pool.end());
        return pool;
      };
      const pooled = workerUrl !== workerDirectUrl;
      const directPool = workerPool(workerDirectUrl, pooled ? 6 : concurrency + 6);
      const pool = pooled ? workerPool(workerUrl, concurrency) : directPool;
      const given = { pool, directPool, concurrency, settings: config, log, health };
      const watched = { ...given, suspension: await watch(directPool) };
      const worker = await keepRunning("worker", () => startWorker(watched), log, health);
      failed = worker.failed;
      stops.push(() => worker.stop());
    }

    let url: string | undefined;
    if (halves.server) {
      const pool = createPool({
        connectionString: database.serverUrl,
        log,
        max: 10,
        name: "nexus-server",
        role: "nexus_server",
      });
      stops.push(() => pool.end());
      const listening = createPool({
        connectionString: database.serverDirectUrl,
        log,
        max: 1,
        name: "nexus-server-listen",
        role: "nexus_server",
      });
      stops.push(() => listening.end());
      const http = await startHttp({
        host: config.host,
        port: config.port ?? 4000,
        nextFreePort: config.port === undefined,
        environment: config.environment,
        secretKeys: secretKeys(database.secretKey, config.previousSecretKey),
        expectedClaims: config.expectedClaims,
        pool,
        listening,
        statementTimeoutMs: config.statementTimeoutMs,
        mutationLimits: config.mutationLimits,
        corsOrigins: config.corsOrigins,
        log,
        isReady: () => takesWrites(pool, health),
        suspension: await watch(pool),
        health,
      });
      url = http.url;
      stops.push(() => http.close());
    }
    const suspended = suspension?.current()?.reason;
    return { database, log, url, suspended, failed, stop };
  } catch (error) {
    log.debug({ err: error }, "the start failed");
    await stop().catch((err: unknown) => log.error({ err }, "the stop was not clean"));
    throw error;
  }
}

/** A request would have the same wait for a connection; whoever asks does not wait that long. */
const readyWithinMs = 2_000;

/**
 * Whether the API could do its work now: a standby answers, but takes no writes. Warns of clocks that are
 * wrong, of triggers that are missing, and of stores that wait for an operator's word, of which a worker elsewhere
 * may have told the database.
 */
export async function takesWrites(pool: Pool, health: Pick<Health, "warn">): Promise<boolean> {
  const asked = pool.query<{
    writable: boolean;
    clocks: string[];
    stores: string[];
    triggers: string | null;
  }>(
    `select not pg_catalog.pg_is_in_recovery() as writable,
       array(select w.message from nexus_engine.clock_warnings() w) as clocks,
       array(select w.message from nexus_engine.missing_stores_refused() w) as stores,
       nexus_engine.triggers_warning() as triggers`,
  );
  return within(readyWithinMs, asked).then(
    ({ rows: [row] }) => {
      health.warn("clocks", row?.clocks.join("; ") || undefined);
      health.warn("stores", row?.stores.join("; ") || undefined);
      health.warn("triggers", row?.triggers ?? undefined);
      return row?.writable === true;
    },
    () => false,
  );
}
