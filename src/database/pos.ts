import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "pg";
import type { Logger } from "../log.ts";
import { explainLocks, MigrationError } from "./blockers.ts";
import type { Say } from "./steps.ts";

const sqlDir = join(import.meta.dirname, "../../sql");
const posDir = join(sqlDir, "pos");

/** Of sql/: asks for the POS's columns that we read or write, of which kind they have to be. */
export const posProblemsFile = "pos/problems.sql";

export const posTables = ["tiendas", "users", "productos", "ventas", "detalles_venta", "insights"];

/** What is missing or of another kind in the POS's tables, a line each; empty when all is well. */
export async function posProblems(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ problem: string }>(
    await readFile(join(sqlDir, posProblemsFile), "utf8"),
  );
  return rows.map(({ problem }) => problem);
}

/** Creates the POS's tables, for the embedded database and for trials; only where there are none. */
export async function createPosSchema(client: Client): Promise<void> {
  const { rowCount } = await client.query(
    "select from pg_catalog.pg_class where relnamespace = 'public'::regnamespace and relname = any ($1)",
    [posTables],
  );
  if (rowCount) return;
  await client.query(await readFile(join(posDir, "schema.sql"), "utf8"));
}

/** Loads the three demo stores, unless the database has any store. */
export async function loadDemoData(client: Client, log: Logger): Promise<void> {
  const { rowCount } = await client.query("select from public.tiendas limit 1");
  if (rowCount) return;
  log.info("loading the demo data");
  await client.query(await readFile(join(posDir, "demo.sql"), "utf8"));
}

/**
 * Creates our indexes on the POS's tables, one file each in sql/pos/indexes, without blocking the
 * shops' writes. An index that an interrupted run left invalid is built anew. One that is not built
 * within lock_timeout, because older transactions do not end, is left to the next start: reports are
 * slower without it, and nothing else.
 */
export async function ensurePosIndexes(
  client: Client,
  connectionString: string,
  log: Logger,
  say: Say = () => {},
): Promise<void> {
  if (!(await mayIndex(client))) {
    say("index: left out, only the owner of the POS's tables can make it: reports are slower");
    return;
  }
  const dir = join(posDir, "indexes");
  for (const file of (await readdir(dir)).sort()) {
    const name = file.replace(/\.sql$/, "");
    try {
      await explainLocks(client, connectionString, `index ${name}`, async () => {
        if (!(await needsIndex(client, name))) return;
        log.info({ index: name }, "building an index on the POS's tables");
        await client.query(await readFile(join(dir, file), "utf8"));
      });
    } catch (err) {
      if (!(err instanceof MigrationError)) throw err;
      log.warn({ index: name, err }, "an index is left to be built by the next start");
    }
  }
}

/** Whoever owns the table, and may create in its schema. */
async function mayIndex(client: Client): Promise<boolean> {
  const { rows } = await client.query<{ may: boolean }>(
    `select pg_catalog.pg_has_role(c.relowner, 'usage') and pg_catalog.has_schema_privilege(c.relnamespace, 'create') as may
     from pg_catalog.pg_class c where c.relnamespace = 'public'::regnamespace and c.relname = 'ventas'`,
  );
  return rows[0]?.may ?? false;
}

/** Whether there is none; drops one that is invalid. */
async function needsIndex(client: Client, name: string): Promise<boolean> {
  const { rows } = await client.query<{ indisvalid: boolean }>(
    "select indisvalid from pg_catalog.pg_index where indexrelid = to_regclass($1)",
    [`public.${name}`],
  );
  if (rows[0]?.indisvalid) return false;
  if (rows[0]) await client.query(`drop index concurrently if exists public.${name}`);
  return true;
}
