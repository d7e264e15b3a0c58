import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Client } from "pg";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";

const schemaFile = join(import.meta.dirname, "../../sql/pos/schema.sql");
const dataFile = join(import.meta.dirname, "data.sql");
const database = "nexus_bench";

/** The moment at which everything is reconciled: day and week are both due since a while. */
export const asOf = "2026-03-02T15:00:00Z";

/**
 * The database of the benchmarks on this server: the POS's tables with the rows of data.sql, kept
 * between runs until their text changes, and our schemas of today, made anew. Returns its URL.
 */
export async function openDataset(serverUrl: string): Promise<string> {
  const texts = await Promise.all([schemaFile, dataFile].map((file) => readFile(file, "utf8")));
  const hash = createHash("sha256").update(texts.join("\0")).digest("hex");
  const url = Object.assign(new URL(serverUrl), { pathname: `/${database}` }).toString();
  await withClient(serverUrl, async (server) => {
    const { rows } = await server.query<{ hash: string | null }>(
      "select shobj_description(oid, 'pg_database') as hash from pg_database where datname = $1",
      [database],
    );
    if (rows[0]?.hash === hash) return;
    const since = Date.now();
    console.log("Making the data set, which is kept for the next run (about a minute) ...");
    await server.query(`drop database if exists ${database} with (force)`);
    await server.query(`create database ${database}`);
    await withClient(url, (client) => load(client, texts));
    // A plan that has gone wrong ends the run, instead of going on for hours.
    await server.query(`alter database ${database} set statement_timeout = '2min'`);
    await server.query(`comment on database ${database} is '${hash}'`);
    console.log(`  done in ${((Date.now() - since) / 1000).toFixed(0)} s`);
  });
  await withClient(url, dropOurSchemas);
  await prepareDatabase(url, createLog("warn"));
  await withClient(url, (client) => client.query("vacuum (analyze)"));
  return url;
}

async function withClient<T>(url: string, run: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url, options: "-c TimeZone=UTC -c jit=off" });
  await client.connect();
  try {
    return await run(client);
  } finally {
    await client.end();
  }
}

async function load(client: Client, [schema, data]: string[]): Promise<void> {
  await client.query(schema ?? "");
  await fill(client, data ?? "");
}

/** Fills the POS's tables. Indexes and keys are built after the rows, which is several times faster. */
export async function fill(client: Client, data: string): Promise<void> {
  const { rows: constraints } = await client.query<{ drop: string; create: string }>(
    `select format('alter table %s drop constraint %I', conrelid::regclass, conname) as drop,
       format('alter table %s add constraint %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) as create
     from pg_constraint where connamespace = 'public'::regnamespace and contype in ('p', 'f')
     order by contype = 'p'`,
  );
  for (const constraint of constraints) await client.query(constraint.drop);
  const { rows: indexes } = await client.query<{ drop: string; create: string }>(
    `select format('drop index %s', indexrelid::regclass) as drop, pg_get_indexdef(indexrelid) as create
     from pg_index join pg_class on pg_class.oid = indrelid
     where relnamespace = 'public'::regnamespace`,
  );
  for (const index of indexes) await client.query(index.drop);
  await client.query("set synchronous_commit = off; set maintenance_work_mem = '512MB'");
  await client.query(data);
  for (const index of indexes) await client.query(index.create);
  for (const constraint of constraints.reverse()) await client.query(constraint.create);
}

async function dropOurSchemas(client: Client): Promise<void> {
  await client.query("truncate public.insights");
  for (const schema of ["nexus_api", "nexus_engine", "graphile_worker"]) {
    await client.query(`drop schema if exists ${schema} cascade`);
  }
}
