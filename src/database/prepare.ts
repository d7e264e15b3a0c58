import { setTimeout as sleep } from "node:timers/promises";
import { runMigrations } from "graphile-worker";
import type { Client } from "pg";
import { graphileLogger, type Logger } from "../log.ts";
import { attach, attachLocks } from "./attach.ts";
import { backoff, insufficientPrivilege, isAway, sqlState } from "./away.ts";
import { connect } from "./client.ts";
import { describeAddress } from "./hosts.ts";
import { isDetached, migrate } from "./migrate.ts";
import { createPool } from "./pools.ts";
import { createPosSchema, loadDemoData, posProblems, posRemedy } from "./pos.ts";
import { endWithClient, lockPreparation } from "./preparation-lock.ts";
import { checkRights, explainRights, type HalfLogins, loginsOf } from "./rights.ts";
import { rolesThere } from "./roles.ts";
import { explainFailure, noteTarget } from "./start-failure.ts";
import { atStep, type Say } from "./steps.ts";

/** How long a start waits for a database that starts as well, or that is failing over. */
const usualPatienceMs = 30_000;

/** How long to wait for a lock: of a migration, and of the others as attach.ts says. */
const lockTimeouts = { migration: 5_000, ...attachLocks };

export type PreparationOptions = {
  createPos?: boolean;
  demo?: boolean;
  /** Attaches also where an operator has detached; see nexus_engine.attach(). */
  attachAgain?: boolean;
  /** Which halves will run, and as whom. */
  halves?: HalfLogins;
  /** Told what each step did; absent: the log. */
  say?: Say;
  /** In milliseconds. */
  locks?: typeof lockTimeouts;
  /** How long to wait for a database that is not there. */
  patienceMs?: number;
  /** Ends the wait for the database, or for another process that prepares it, with its reason. */
  signal?: AbortSignal | undefined;
};

export class PosSchemaError extends Error {
  override name = "PosSchemaError";
}

/**
 * Makes a database ready to work with: checks the POS's tables (or creates them where `createPos`
 * allows and there are none), migrates our schemas and Graphile Worker's, loads the demo data where
 * `demo` allows and there is no store, puts our triggers and indexes on. Safe to run by any number of
 * processes at once. Returns false when the POS was using its tables, and triggers and indexes are left
 * for keepAttaching.
 * Throws PosSchemaError with every missing table and column before anything is changed, and
 * MigrationError when a lock is not had in time, naming who holds it.
 */
export async function prepareDatabase(
  ownerUrl: string,
  log: Logger,
  options: PreparationOptions = {},
): Promise<boolean> {
  const { patienceMs = usualPatienceMs } = options;
  const until = performance.now() + patienceMs;
  const wait = backoff(250, 4_000);
  for (;;) {
    try {
      return await prepare(ownerUrl, log, options);
    } catch (error) {
      if (!isAway(error) || performance.now() > until) throw error;
      const reason = explainFailure(error);
      log.warn(
        reason ? {} : { err: error },
        `The database is not there yet, trying again for ${patienceMs / 1000} s. ${reason ?? ""}`.trim(),
      );
      await pause(wait.next(), options.signal);
    }
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(ms, undefined, signal ? { signal } : {}).catch(() => {});
  signal?.throwIfAborted();
}

async function prepare(
  ownerUrl: string,
  log: Logger,
  {
    createPos = false,
    demo = false,
    attachAgain = false,
    halves = {},
    say = (line) => log.info(line),
    locks = lockTimeouts,
    signal,
  }: PreparationOptions,
): Promise<boolean> {
  const client = await connect(ownerUrl, "nexus-prepare");
  const logins = loginsOf(client.user ?? "", halves);
  try {
    say(`server: ${await atStep("server", () => checkServer(client))}`);
    await endWithClient(client);
    await waitForTurn(client, say, signal);
    // The POS may be in the middle of its own migration: then attach() looks at its tables.
    if (!(await atStep("rights", () => isDetached(client)))) {
      await atStep("the POS's tables", () => checkPosTables(client, createPos));
      say("the POS's tables: as expected");
      await atStep("rights", () => checkRights(client, logins));
      say("rights: complete");
    }
    const before = await rolesThere(client);
    await atStep("schemas", async () => {
      const { applied } = await migrate(ownerUrl, log, locks.migration);
      const made = (await rolesThere(client)).filter((role) => !before.includes(role));
      say(`roles: ${made.length > 0 ? `made ${made.join(", ")}` : "there"}`);
      say(`schemas: ${await schemasNow(client, applied)}`);
    });
    await atStep("queue", () => migrateGraphileWorker(ownerUrl, log));
    await atStep("rights", () => client.query("select nexus_engine.set_rights()"));
    // Not left to attach(), which a busy POS keeps waiting.
    await atStep("rights", () =>
      client.query(
        "select nexus_engine.grant_pos_tables() where not exists (select from nexus_engine.detached)",
      ),
    );
    say("queue: graphile_worker is up to date");
    if (demo) await loadDemoData(client, log);
    return await atStep("triggers", () =>
      attach(client, ownerUrl, log, locks, { say, attachAgain }),
    );
  } catch (error) {
    if (sqlState(error) !== insufficientPrivilege || !(error instanceof Error)) throw error;
    throw await explainRights(client, logins, error);
  } finally {
    await client.end();
  }
}

async function checkPosTables(client: Client, createPos: boolean): Promise<void> {
  let problems = await posProblems(client);
  if (problems.length > 0 && createPos) {
    await createPosSchema(client);
    problems = await posProblems(client);
  }
  if (problems.length > 0) {
    throw new PosSchemaError(
      `Database "${client.database}" ${posRemedy(problems)}\n  ${problems.join("\n  ")}`,
    );
  }
}

async function schemasNow(client: Client, applied: string[]): Promise<string> {
  const { rows } = await client.query<{ migrations: number; files: number }>(
    `select count(*) filter (where name like 'migrations/%')::int as migrations,
       count(*) filter (where name ~ '^(engine|insights|api)/')::int as files from nexus_engine.migration`,
  );
  const ran = applied.filter((name) => name.startsWith("migrations/")).length;
  return `${rows[0]?.migrations} migrations, ${ran} of them run now; ${rows[0]?.files} files of functions, ${applied.length - ran} of them applied now`;
}

async function checkServer(client: Client): Promise<string> {
  const { rows } = await client.query<{ version: string; number: number; standby: boolean }>(
    `select current_setting('server_version') as version,
       current_setting('server_version_num')::int as number, pg_is_in_recovery() as standby`,
  );
  const [server] = rows;
  if (server && server.number < 150_000) {
    throw new PosSchemaError(
      `Expected PostgreSQL 15 or newer, got ${server.version}: upgrade the server.`,
    );
  }
  // Or the primary of the next moment, so that it is worth some patience.
  if (server?.standby) {
    throw noteTarget(Object.assign(new Error("a standby"), { code: "25006" }), client);
  }
  return `PostgreSQL ${server?.version}, database "${client.database}" at ${describeAddress(client)}, login "${client.user}"`;
}

/** Tries again and again: a session that waits inside a statement would block a concurrent index build. */
async function waitForTurn(
  client: Client,
  say: Say,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let tried = 0; ; tried += 1) {
    if (await lockPreparation(client)) return;
    // That may be long, where it builds an index.
    if (tried === 0) say("turn: another process is preparing the database, waiting for it");
    await pause(100, signal);
  }
}

async function migrateGraphileWorker(ownerUrl: string, log: Logger): Promise<void> {
  const pool = createPool({
    connectionString: ownerUrl,
    log,
    max: 2,
    name: "nexus-migrate",
    role: "nexus_queue",
  });
  try {
    await runMigrations({ pgPool: pool, logger: graphileLogger(log) });
  } finally {
    await pool.end();
  }
}
