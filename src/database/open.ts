import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import { keepAttaching } from "./attach.ts";
import { describeTarget, parseTarget } from "./hosts.ts";
import { keepIndexes } from "./indexes.ts";
import { type PreparationOptions, prepareDatabase } from "./prepare.ts";

export type Database = {
  /** Connection of the owner: migrations, command-line tools. */
  ownerUrl: string;
  /** Where the worker's tasks and the API's requests run; both may lead through PgBouncer. */
  workerUrl: string;
  serverUrl: string;
  /** The same without PgBouncer: to listen, and for what a session holds. */
  workerDirectUrl: string;
  serverDirectUrl: string;
  /** What the POS signs its tokens with. */
  secretKey: string;
  embedded: boolean;
  /** What a person who starts us should know about where the data is. */
  description: string;
  close(): Promise<void>;
};

export type OpenOptions = {
  createPosSchema?: boolean;
  /** Those that will run: rights are asked for by what these need. */
  halves?: { worker?: boolean; server?: boolean };
  signal?: AbortSignal;
};

/**
 * The database that the configuration asks for, ready to work with: the one of DATABASE_URL, or the
 * embedded Postgres, which gets the POS's tables and, while it has no store, the demo data.
 */
export async function openDatabase(
  config: Config,
  log: Logger,
  { createPosSchema = false, halves = {}, signal }: OpenOptions = {},
): Promise<Database> {
  if (config.databaseUrl && config.secretKey) {
    const ownerUrl = config.databaseUrl;
    const logins = {
      ...(halves.worker && { workerUrl: config.workerDatabaseUrl }),
      ...(halves.server && { serverUrl: config.serverDatabaseUrl, serves: true }),
    };
    const options = { createPos: createPosSchema, halves: logins, signal };
    const close = await prepare(ownerUrl, log, options);
    const workerUrl = config.workerDatabaseUrl ?? ownerUrl;
    const serverUrl = config.serverDatabaseUrl ?? ownerUrl;
    const direct = (url: string) => (parseTarget(url).pooled ? ownerUrl : url);
    return {
      ownerUrl,
      workerUrl,
      serverUrl,
      workerDirectUrl: direct(workerUrl),
      serverDirectUrl: direct(serverUrl),
      secretKey: config.secretKey,
      embedded: false,
      description: `${describeTarget(ownerUrl)} (DATABASE_URL)`,
      close,
    };
  }
  // Loaded only where it is wanted: its lock needs node:sqlite.
  const { startEmbedded } = await import("./embedded.ts");
  const server = await startEmbedded({
    dataDir: resolve(config.dataDir),
    keepRunning: true,
    log: { info: (message) => log.info(message), warn: (message) => log.warn(message) },
  });
  try {
    const close = await prepare(server.connectionString, log, {
      createPos: true,
      demo: true,
      signal,
    });
    return {
      ownerUrl: server.connectionString,
      workerUrl: server.connectionString,
      serverUrl: server.connectionString,
      workerDirectUrl: server.connectionString,
      serverDirectUrl: server.connectionString,
      secretKey: config.secretKey ?? (await keptSecretKey(server.dataDir)),
      embedded: true,
      description: `embedded, data in ${server.dataDir}`,
      close: async () => {
        await close();
        await server.stop();
      },
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/**
 * What the POS's use of its tables keeps from being done now is done later, and an index that it drops is built
 * again, until the returned function is called.
 */
async function prepare(
  ownerUrl: string,
  log: Logger,
  options: PreparationOptions,
): Promise<() => Promise<void>> {
  const isDone = await prepareDatabase(ownerUrl, log, options);
  const kept = [keepIndexes(ownerUrl, log), ...(isDone ? [] : [keepAttaching(ownerUrl, log)])];
  return async () => {
    await Promise.all(kept.map(({ stop }) => stop()));
  };
}

/** A random key that is made once and kept beside the data, readable by its owner only. */
async function keptSecretKey(dataDir: string): Promise<string> {
  const file = join(dataDir, "secret_key");
  // The first of two starters at once writes it, both read the same.
  await writeFile(file, randomBytes(48).toString("base64url"), { flag: "wx", mode: 0o600 }).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    },
  );
  return (await readFile(file, "utf8")).trim();
}
