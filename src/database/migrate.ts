import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "pg";
import type { Logger } from "../log.ts";
import { sqlState } from "./away.ts";
import { explainLocks, MigrationError } from "./blockers.ts";
import { connect } from "./client.ts";
import { posQueries } from "./pos.ts";

export { MigrationError };

const sqlDir = join(import.meta.dirname, "../../sql");

/**
 * Held by whoever migrates; any number of processes may start at once, one does the work. The same as
 * nexus_engine.migration_lock().
 */
const migrationLock = 7_041_948_523;

/** Folders of functions and views, re-applied when their text changes, in this order. */
const repeatableFolders = ["engine", "insights", "api"];

/**
 * Migrations whose text changed before the first release, so that a login which owns nothing can run them: the
 * sha256 of the former text, which left the same behind.
 */
export const formerTexts = new Map([
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

/** A file that may bind the POS's columns. */
const makesView = /^create (or replace )?view /m;

/** Before it nobody knew what was missing. */
const firstWithTexts = "migrations/0024_stored_texts.sql";

/** What Postgres says of a view that is there with other columns, or with others' types. */
const otherColumns = "42P16";

/** As nexus_engine.table_remedy() has it. */
const lostRemedy =
  "restore what is missing from a backup, or make all of it anew: npm run export, npm run detach -- --all, npm start, npm run import";

export type SqlFile = { name: string; text: string; sha256: string };

async function sqlFiles(folder: string): Promise<SqlFile[]> {
  const names = (await readdir(join(sqlDir, folder)))
    .filter((name) => name.endsWith(".sql"))
    .sort();
  return Promise.all(names.map((name) => sqlFile(`${folder}/${name}`)));
}

/** A file of sql, by its name there. */
export async function sqlFile(name: string): Promise<SqlFile> {
  const text = await readFile(join(sqlDir, name), "utf8");
  return { name, text, sha256: createHash("sha256").update(text).digest("hex") };
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
 * function files whose text changed, or all of them where something that they made is missing; all in one
 * transaction. Their texts stay in the database, for nexus_engine.attach(). A second run does nothing.
 * While we are detached nothing that binds columns of the POS's is made: that is left to attach().
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
    const applied = new Set<string>();

    const migrations = await sqlFiles("migrations");
    const newer = [...done.keys()].filter(
      (name) => name.startsWith("migrations/") && !migrations.some((file) => file.name === name),
    );
    if (newer.length > 0) {
      // Started again in the middle of a deploy, or after it was taken back.
      log.warn({ newer }, "a newer release has migrated this database, which is left as it is");
      await client.query("rollback");
      return { applied: [] };
    }
    const lost = await missingTables(client);
    if (lost.length > 0) {
      throw new MigrationError(`Nothing was changed, ${lost.join(", ")} missing: ${lostRemedy}`);
    }
    const detached = await isDetached(client);
    // What is missing while we are detached is missing on purpose.
    const missing = detached ? [] : await missingObjects(client);
    if (missing.length > 0) log.warn({ missing }, "what is missing of ours is made anew");
    for (const file of migrations) {
      const known = done.get(file.name);
      if (known && known !== file.sha256 && known !== formerTexts.get(file.name)) {
        throw new MigrationError(
          `sql/${file.name} was changed after it had been applied; expected sha256 ${known}, got ${file.sha256}. Undo the change and put it into a new migration.`,
        );
      }
      if (!known) {
        await run(file);
        applied.add(file.name);
        await record(client, file);
      }
    }

    const files = (await Promise.all(repeatableFolders.map(sqlFiles))).flat();
    const isChanged = (file: SqlFile) => done.get(file.name) !== file.sha256;
    const isWanted = (file: SqlFile) => {
      // attach() applies them all.
      if (detached) return isChanged(file) && !makesView.test(file.text);
      return isChanged(file) || missing.length > 0 || !done.has(firstWithTexts);
    };
    await applyFiles(files.filter(isWanted), true);
    const kept = [...files, ...(await Promise.all(posQueries.map(sqlFile)))];
    await keepTexts(client, kept);
    await client.query(
      "delete from nexus_engine.migration where name not like 'migrations/%' and name <> all ($1)",
      [kept.map(({ name }) => name)],
    );
    if (applied.size > 0 && !detached) await client.query("select nexus_engine.note_objects()");
    await client.query("commit");
    if (applied.size > 0) log.info({ applied: applied.size }, "the database is up to date");
    return { applied: [...applied] };

    async function applyFiles(wanted: SqlFile[], mayDropViews: boolean): Promise<void> {
      for (const file of wanted) {
        await client.query("savepoint file; set local role nexus_owner");
        try {
          await run(file);
        } catch (error) {
          const isOther = error instanceof Error && sqlState(error.cause) === otherColumns;
          if (!isOther || !mayDropViews) throw error;
          // The file detach.sql, which has the function, comes before all that make such views.
          await client.query("rollback to savepoint file");
          await explainLocks(client, connectionString, "our views", () =>
            client.query(
              "select nexus_engine.try_for_locks('select nexus_engine.drop_bound_objects()')",
            ),
          );
          return applyFiles(files, false);
        }
        await client.query("release savepoint file");
        applied.add(file.name);
        await record(client, file);
      }
    }
  } catch (error) {
    await client.query("rollback").catch(() => {});
    throw error;
  } finally {
    await client.end();
  }
}

/** Which files ran, with the hash of their text. Lives in nexus_engine once that exists. */
async function readLedger(client: Client): Promise<Map<string, string>> {
  if (!(await exists(client, "to_regclass('nexus_engine.migration')"))) return new Map();
  const { rows: files } = await client.query<{ name: string; sha256: string }>(
    "select name, sha256 from nexus_engine.migration",
  );
  return new Map(files.map((file) => [file.name, file.sha256]));
}

/** What our files have made and somebody has dropped. */
async function missingObjects(client: Client): Promise<string[]> {
  if (!(await exists(client, "to_regclass('nexus_engine.made_object')"))) return [];
  const functions = ["own_objects", "missing_objects"].map((name) => `nexus_engine.${name}()`);
  for (const name of functions) {
    if (!(await exists(client, `to_regprocedure('${name}')`))) return [name];
  }
  const { rows } = await client.query<{ name: string }>(
    "select type || ' ' || identity as name from nexus_engine.missing_objects() order by 1",
  );
  return rows.map(({ name }) => name);
}

/** Our tables that somebody has dropped: as nexus_engine.missing_tables(), which may be older or gone. */
async function missingTables(client: Client): Promise<string[]> {
  if (!(await exists(client, "to_regclass('nexus_engine.made_object')"))) return [];
  const { rows } = await client.query<{ name: string }>(
    `select identity as name from nexus_engine.made_object
     where type = 'table' and to_regclass(identity) is null order by 1`,
  );
  return rows.map(({ name }) => name);
}

/** Whether detach() was called, and attach() not since. */
export async function isDetached(client: Client): Promise<boolean> {
  if (!(await exists(client, "to_regclass('nexus_engine.detached')"))) return false;
  const { rowCount } = await client.query("select from nexus_engine.detached");
  return Boolean(rowCount);
}

async function exists(client: Client, object: string): Promise<boolean> {
  const { rows } = await client.query<{ exists: boolean }>(
    `select ${object} is not null as exists`,
  );
  return rows[0]?.exists ?? false;
}

async function record(client: Client, file: SqlFile): Promise<void> {
  await client.query(
    `insert into nexus_engine.migration (name, sha256) values ($1, $2)
     on conflict (name) do update set sha256 = excluded.sha256, applied_at = now()`,
    [file.name, file.sha256],
  );
}

/** Those of older databases have none yet; those of detached ones may not have been applied. */
async function keepTexts(client: Client, files: SqlFile[]): Promise<void> {
  await client.query(
    `insert into nexus_engine.migration as m (name, sha256, text)
     select * from unnest($1::text[], $2::text[], $3::text[])
     on conflict (name) do update set sha256 = excluded.sha256, text = excluded.text
       where m.text is distinct from excluded.text`,
    [files.map((f) => f.name), files.map((f) => f.sha256), files.map((f) => f.text)],
  );
}
