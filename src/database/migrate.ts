import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "pg";
import type { Logger } from "../log.ts";
import { explainLocks, MigrationError } from "./blockers.ts";
import { connect } from "./client.ts";

export { MigrationError };

const sqlDir = join(import.meta.dirname, "../../sql");

/** Held by whoever migrates; any number of processes may start at once, one does the work. */
const migrationLock = 7_041_948_523;

/** Folders of functions and views, re-applied when their text changes, in this order. */
const repeatableFolders = ["engine", "insights", "api"];

/**
 * Migrations whose text changed before the first release, so that a login which owns nothing can run them: the
 * sha256 of the former text, which left the same behind.
 */
const formerTexts = new Map([
  [
    "migrations/0001_roles_and_schemas.sql",
    "e1ee32ce79f65a3c06c11f5652c338bb8c2c54683195a7175c9aae5a39128b90",
  ],
  [
    "migrations/0010_rechecks_and_rights.sql",
    "45a2e6e04ba04a8040e8961a60b78112e54f7296a0346bca4ec656a7acef878c",
  ],
  [
    "migrations/0018_queue_owner.sql",
    "81d7fcc4f993f240228f69841d68a213fb5b383243ab249d78efad394889bdb7",
  ],
]);

export type SqlFile = { name: string; text: string; sha256: string };

async function sqlFiles(folder: string): Promise<SqlFile[]> {
  const names = (await readdir(join(sqlDir, folder)))
    .filter((name) => name.endsWith(".sql"))
    .sort();
  return Promise.all(
    names.map(async (name) => {
      const text = await readFile(join(sqlDir, folder, name), "utf8");
      const sha256 = createHash("sha256").update(text).digest("hex");
      return { name: `${folder}/${name}`, text, sha256 };
    }),
  );
}

/** The files of these folders of sql, in order. */
export async function sqlFilesOf(folders: string[]): Promise<SqlFile[]> {
  return (await Promise.all(folders.map(sqlFiles))).flat();
}

/** Runs one file and puts its name into the error, which Postgres does not know. */
async function runFile(client: Client, file: SqlFile): Promise<void> {
  try {
    await client.query(file.text);
    await client.query("reset role");
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new MigrationError(`sql/${file.name}: ${message}`, { cause });
  }
}

/**
 * Brings our schemas up to date: immutable files of sql/migrations once each, in order, then the
 * function files whose text changed, all in one transaction. A second run does nothing.
 * A database that a newer release has migrated is left alone: its functions serve ours as well.
 * Throws MigrationError when an immutable file was changed after it ran, naming the file, and when
 * a lock was not had in time, naming who held it.
 */
export async function migrate(
  connectionString: string,
  log: Logger,
  lockTimeoutMs = 5_000,
): Promise<{ applied: string[] }> {
  const client = await connect(connectionString, "nexus-migrate");
  const run = (file: SqlFile) =>
    explainLocks(client, connectionString, `sql/${file.name}`, () => runFile(client, file));
  try {
    await client.query("begin");
    await client.query("select pg_advisory_xact_lock($1)", [migrationLock]);
    // A migration must not make the shops wait: it gives up on a lock rather than queue for it.
    await client.query("select set_config('lock_timeout', $1, true)", [String(lockTimeoutMs)]);
    await client.query("set local check_function_bodies = off");
    await client.query("set local search_path = ''");
    const done = await readLedger(client);
    const applied: string[] = [];

    const migrations = await sqlFiles("migrations");
    const newer = [...done.keys()].filter(
      (name) => name.startsWith("migrations/") && !migrations.some((file) => file.name === name),
    );
    if (newer.length > 0) {
      // Started again in the middle of a deploy, or after it was taken back.
      log.warn({ newer }, "a newer release has migrated this database, which is left as it is");
      await client.query("rollback");
      return { applied };
    }
    for (const file of migrations) {
      const known = done.get(file.name);
      if (known && known !== file.sha256 && known !== formerTexts.get(file.name)) {
        throw new MigrationError(
          `sql/${file.name} was changed after it had been applied; expected sha256 ${known}, got ${file.sha256}. Undo the change and put it into a new migration.`,
        );
      }
      if (!known) {
        await run(file);
        applied.push(file.name);
        await record(client, file);
      }
    }
    for (const folder of repeatableFolders) {
      for (const file of await sqlFiles(folder)) {
        if (done.get(file.name) === file.sha256) continue;
        await client.query("set local role nexus_owner");
        await run(file);
        applied.push(file.name);
        await record(client, file);
      }
    }
    await client.query("commit");
    if (applied.length > 0) log.info({ applied: applied.length }, "the database is up to date");
    return { applied };
  } catch (error) {
    await client.query("rollback").catch(() => {});
    throw error;
  } finally {
    await client.end();
  }
}

/** Which files ran, with the hash of their text. Lives in nexus_engine once that exists. */
async function readLedger(client: Client): Promise<Map<string, string>> {
  const { rows } = await client.query<{ exists: boolean }>(
    "select to_regclass('nexus_engine.migration') is not null as exists",
  );
  if (!rows[0]?.exists) return new Map();
  const { rows: files } = await client.query<{ name: string; sha256: string }>(
    "select name, sha256 from nexus_engine.migration",
  );
  return new Map(files.map((file) => [file.name, file.sha256]));
}

async function record(client: Client, file: SqlFile): Promise<void> {
  await client.query(
    `insert into nexus_engine.migration (name, sha256) values ($1, $2)
     on conflict (name) do update set sha256 = excluded.sha256, applied_at = now()`,
    [file.name, file.sha256],
  );
}
