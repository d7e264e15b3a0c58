import { realpath } from "node:fs/promises";
import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { type Secrets, SUPERUSER } from "./cluster.ts";

export const DATABASE = "nexus";
/** A client that has just disconnected is listed for a moment longer. */
const FAREWELL_MS = 300;

/** The connection that marks this process as a user of the server; it keeps no process alive. */
export type Session = { client: pg.Client; socket: Socket };

export async function openSession(cluster: string, secrets: Secrets): Promise<Session> {
  const socket = new Socket();
  const client = new pg.Client({
    host: "127.0.0.1",
    port: secrets.port,
    user: SUPERUSER,
    password: secrets.password,
    database: "postgres",
    ssl: false,
    application_name: "nexus embedded",
    connectionTimeoutMillis: 10_000,
    stream: () => socket,
  });
  // A server that goes away is found out by the next query, here or in the pools.
  client.on("error", () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query(
      "select current_setting('data_directory') as folder, " +
        "exists (select from pg_database where datname = $1) as complete",
      [DATABASE],
    );
    const { folder, complete } = rows[0];
    if ((await realpath(folder)) !== (await realpath(cluster))) {
      throw new Error(`The server on port ${secrets.port} serves ${folder}, not ${cluster}`);
    }
    if (!complete) await client.query(`create database ${DATABASE}`);
    socket.unref();
    return { client, socket };
  } catch (error) {
    await client.end().catch(() => undefined);
    throw error;
  }
}

/** How many other clients the server has. Ends the session. */
export async function closeSession({ client, socket }: Session): Promise<number> {
  const until = Date.now() + FAREWELL_MS;
  socket.ref();
  try {
    for (;;) {
      const { rows } = await client.query(
        "select count(*)::int as others from pg_stat_activity " +
          "where backend_type in ('client backend', 'walsender') and pid <> pg_backend_pid()",
      );
      if (rows[0].others === 0 || Date.now() > until) return rows[0].others;
      await sleep(20);
    }
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** The server was starting, stopping or crashing: another attempt can succeed. */
export function isPassing(error: unknown): boolean {
  const { code = "", message = "" } = error as { code?: string; message?: string };
  return (
    ["57P01", "57P02", "57P03", "ECONNREFUSED", "ECONNRESET", "EPIPE"].includes(code) ||
    message.startsWith("Connection terminated")
  );
}
