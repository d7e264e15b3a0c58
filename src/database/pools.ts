import { Pool, type PoolConfig } from "pg";
import type { Logger } from "../log.ts";

export type DatabaseRole = "nexus_worker" | "nexus_server";

export type PoolOptions = {
  connectionString: string;
  log: Logger;
  max: number;
  /** Shown in pg_stat_activity. */
  name: string;
  /** The role every connection assumes; absent only for migrations and tests. */
  role?: DatabaseRole;
};

/**
 * A pool whose connections act as `role`, whoever logged in: a URL of the database's owner is
 * enough to run everything, and still no query of the worker or the API has an owner's rights.
 */
export function createPool({ connectionString, log, max, name, role }: PoolOptions): Pool {
  const settings = ["TimeZone=UTC", "jit=off", ...(role ? [`role=${role}`] : [])];
  const config: PoolConfig = {
    connectionString,
    max,
    application_name: name,
    options: settings.map((setting) => `-c ${setting}`).join(" "),
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
  };
  const pool = new Pool(config);
  // Without a listener a dropped idle connection would end the process.
  pool.on("error", (err) => log.warn({ err, pool: name }, "an idle connection was lost"));
  pool.on("connect", (client) => {
    client.on("error", (err) => log.warn({ err, pool: name }, "a connection was lost"));
  });
  return pool;
}
