import { type ClientBase, Pool, type PoolClient, type PoolConfig } from "pg";
import type { Logger } from "../log.ts";
import { DatabaseClient } from "./client.ts";
import type { DatabaseRole } from "./session.ts";

export type { DatabaseRole };

/** Has Postgres notice within eleven seconds that the other end of a session has vanished. */
export const noticeVanished =
  "set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3";

export type Loan = {
  readonly ended: boolean;
  /** Gives the connection back, or closes a broken one; later calls do nothing. */
  release(broken: boolean): void;
};

/** For a connection that whoever is first gives back: its work, or a time limit that cuts it off. */
export function onLoan(client: PoolClient): Loan {
  let ended = false;
  return {
    get ended() {
      return ended;
    },
    release(broken) {
      if (!ended) client.release(broken);
      ended = true;
    },
  };
}

export type PoolOptions = {
  /** May name several hosts, and PgBouncer: see hosts.ts. */
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
  const config = {
    connectionString,
    max,
    application_name: name,
    connectionTimeoutMillis: 10_000,
    // That a host vanished without a word is noticed within 20 seconds by connections that ask nothing.
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    ...(role && { role }),
    Client: DatabaseClient as unknown as new () => ClientBase,
  } satisfies PoolConfig & { role?: DatabaseRole };
  const pool = new Pool(config);
  // Without a listener a dropped idle connection would end the process.
  pool.on("error", (err: Error & { client?: unknown }) => {
    // The whole connection, with the key to cancel its statements: nothing for a log.
    delete err.client;
    log.warn({ err, pool: name }, "an idle connection was lost");
  });
  pool.on("connect", (client) => {
    client.on("error", (err) => log.warn({ err, pool: name }, "a connection was lost"));
  });
  return pool;
}
