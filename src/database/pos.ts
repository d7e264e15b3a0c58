import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "pg";
import type { Logger } from "../log.ts";
import { explainLocks, MigrationError } from "./blockers.ts";
import type { Say } from "./steps.ts";

const posDir = join(import.meta.dirname, "../../sql/pos");

const text = ["varchar", "text"];
const uuid = ["uuid"];
const bool = ["bool"];
const float = ["float8"];
const instant = ["timestamptz"];

/** The POS's columns that we read or write, with the types that our SQL was written for. */
const expectedColumns: Record<string, Record<string, string[]>> = {
  tiendas: { id: uuid, nombre: text, rubro: text, is_active: bool, created_at: instant },
  users: { id: uuid, email: text, full_name: text, rol: text, is_active: bool, tienda_id: uuid },
  productos: {
    id: uuid,
    nombre: text,
    sku: text,
    precio_venta: float,
    precio_costo: float,
    stock_actual: float,
    tipo: text,
    atributos: ["jsonb"],
    is_active: bool,
    tienda_id: uuid,
  },
  ventas: {
    id: uuid,
    fecha: instant,
    total: float,
    metodo_pago: text,
    created_at: instant,
    status_pago: text,
    tienda_id: uuid,
  },
  detalles_venta: {
    id: uuid,
    cantidad: float,
    precio_unitario: float,
    subtotal: float,
    venta_id: uuid,
    producto_id: uuid,
  },
  insights: {
    id: uuid,
    tipo: text,
    mensaje: text,
    nivel_urgencia: text,
    is_active: bool,
    extra_data: ["jsonb"],
    created_at: instant,
    tienda_id: uuid,
  },
};

export const posTables = Object.keys(expectedColumns);

/** What is missing or of another type in the POS's tables, a line each; empty when all is well. */
export async function posProblems(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ table_name: string; column_name: string; type: string }>(
    `select c.relname as table_name, a.attname as column_name, t.typname as type
     from pg_catalog.pg_class c
     join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     join pg_catalog.pg_type t on t.oid = a.atttypid
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
       and c.relname = any ($1)`,
    [posTables],
  );
  const found = new Map<string, Map<string, string>>();
  for (const row of rows) {
    const columns = found.get(row.table_name) ?? new Map<string, string>();
    found.set(row.table_name, columns.set(row.column_name, row.type));
  }
  return Object.entries(expectedColumns).flatMap(([table, columns]) => {
    const present = found.get(table);
    if (!present) return [`public.${table}: expected a table of Nexus POS, found none`];
    return Object.entries(columns).flatMap(([column, types]) => {
      const type = present.get(column);
      if (type === undefined)
        return [`public.${table}.${column}: expected ${types[0]}, found no such column`];
      return types.includes(type)
        ? []
        : [`public.${table}.${column}: expected ${types.join(" or ")}, got ${type}`];
    });
  });
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
