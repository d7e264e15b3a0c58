import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "pg";
import type { Logger } from "../log.ts";
import { explainLocks, MigrationError } from "./blockers.ts";

const sqlDir = join(import.meta.dirname, "../../sql");
const posDir = join(sqlDir, "pos");

/** Of sql/: asks for the POS's columns that we read or write, of which kind they have to be. */
const posProblemsFile = "pos/problems.sql";
/** Of sql/: what our roles may do on the POS's tables. */
const posRightsFile = "pos/rights.sql";
/** Those that functions of ours read as well, from the texts in the database. */
export const posQueries = [posProblemsFile, posRightsFile];

export const posTables = ["tiendas", "users", "productos", "ventas", "detalles_venta", "insights"];
/** Those that have triggers of ours. */
export const triggerTables = ["productos", "ventas", "detalles_venta", "insights"];

/** What is missing or of another kind in the POS's tables, a line each; empty when all is well. */
export async function posProblems(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ problem: string }>(
    await readFile(join(sqlDir, posProblemsFile), "utf8"),
  );
  return rows.map(({ problem }) => problem);
}

/** What to do about them, in a sentence. */
export function posRemedy(problems: string[]): string {
  const noTable = problems.filter((problem) => /: expected a table /.test(problem));
  if (noTable.length === posTables.length) {
    return "is not one of Nexus POS: check the name in the URL, or create the POS's tables in an empty one with --create-pos-schema.";
  }
  const names = problems.map((problem) => problem.split(":", 1)[0]).join(", ");
  return `has not all that this release reads of the POS: ${names} (missing, or of another kind). Put back what was there, or run the release of Nexus POS Insights that knows the new schema.`;
}

/** A query for what our roles may do on the POS's tables: role, relation, privilege, columns. */
export async function posRights(): Promise<string> {
  return readFile(join(sqlDir, posRightsFile), "utf8");
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
 * within lock_timeout, because older transactions do not end, is left to keepIndexes: reports are
 * slower without it, and nothing else.
 * Returns the indexes that were built, and the statements that are left to an owner of the POS's tables,
 * where this login is none.
 */
export async function ensurePosIndexes(
  client: Client,
  connectionString: string,
  log: Logger,
): Promise<{ built: string[]; left: string[] }> {
  const [built, left]: [string[], string[]] = [[], []];
  for (const { name, statement } of await posIndexes()) {
    try {
      await explainLocks(client, connectionString, `index ${name}`, async () => {
        const is = await lookAtIndex(client, name);
        if (is.there) return;
        if (!is.may) {
          left.push(statement);
          return;
        }
        if (is.invalid) await client.query(`drop index concurrently if exists public.${name}`);
        log.info({ index: name }, "building an index on the POS's tables");
        await client.query(statement);
        built.push(name);
      });
    } catch (err) {
      if (!(err instanceof MigrationError)) throw err;
      log.warn({ index: name, err }, "an index is left to be built later");
    }
  }
  return { built, left };
}

/** How a line of the log says what ensurePosIndexes left. */
export function saidOfLeft(left: string[]): string {
  return `index: left to an owner of the POS's tables, without it reports are slower: ${left.join("; ")}`;
}

/** The indexes that lack, to be made by whoever owns the tables; not within a transaction. */
export async function lackingIndexes(client: Client): Promise<string[]> {
  const statements: string[] = [];
  for (const { name, statement } of await posIndexes()) {
    const is = await lookAtIndex(client, name);
    if (is.there) continue;
    if (is.invalid) statements.push(`drop index concurrently if exists public.${name};`);
    statements.push(`${statement};`);
  }
  return statements;
}

/** Our indexes, each with the statement that makes it. */
export async function posIndexes(): Promise<{ name: string; statement: string }[]> {
  const dir = join(posDir, "indexes");
  return Promise.all(
    (await readdir(dir)).sort().map(async (file) => {
      const text = await readFile(join(dir, file), "utf8");
      return { name: file.replace(/\.sql$/, ""), statement: text.replace(/^--.*\n/gm, "").trim() };
    }),
  );
}

type IndexLook = { there: boolean; invalid: boolean; may: boolean };

/**
 * Whether the index is there, or another on the same columns, such as one of the POS's own; whether ours was
 * not finished; and whether the login may make it: this one, or that of the name.
 */
export async function lookAtIndex(
  client: Client,
  name: string,
  login?: string,
): Promise<IndexLook> {
  const { rows } = await client.query<IndexLook>(
    `select
       exists (
         select from pg_catalog.pg_index i
         where i.indrelid = t.oid and i.indisvalid and i.indpred is null
           and pg_get_indexdef(i.indexrelid, 1, true) = 'tienda_id'
           and pg_get_indexdef(i.indexrelid, 2, true) = 'fecha') as there,
       to_regclass('public.' || $1) is not null as invalid,
       coalesce((select pg_has_role(l.oid, t.relowner, 'usage') and has_schema_privilege(l.oid, t.relnamespace, 'create')
         from pg_catalog.pg_roles l where l.rolname = coalesce($2, current_user)), false) as may
     from pg_catalog.pg_class t where t.relnamespace = 'public'::regnamespace and t.relname = 'ventas'`,
    [name, login ?? null],
  );
  return rows[0] ?? { there: false, invalid: false, may: false };
}
