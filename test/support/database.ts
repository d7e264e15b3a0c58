import { createHash, randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Client, Pool } from "pg";
import { createPool, type DatabaseRole } from "../../src/database/pools.ts";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";

const sqlDir = join(import.meta.dirname, "../../sql");

/** Connection string of the test cluster's superuser; set by test/support/cluster.ts. */
export function serverUrl(database = "postgres"): string {
  const url = process.env.NEXUS_TEST_SERVER;
  if (!url) throw new Error("NEXUS_TEST_SERVER is not set: run the tests with npm test");
  const parsed = new URL(url);
  parsed.pathname = `/${database}`;
  return parsed.toString();
}

async function withServer<T>(run: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: serverUrl() });
  await client.connect();
  try {
    return await run(client);
  } finally {
    await client.end();
  }
}

function sqlHash(): string {
  const hash = createHash("sha256");
  for (const entry of readdirSync(sqlDir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()) {
    hash.update(entry).update(readFileSync(entry));
  }
  return hash.digest("hex").slice(0, 16);
}

/** A database with the POS's tables and our schemas, named after the text of sql/, to clone from. */
async function ensureTemplate(): Promise<string> {
  const name = `nexus_template_${sqlHash()}`;
  await withServer(async (client) => {
    await client.query("select pg_advisory_lock(7041948599)");
    const { rowCount } = await client.query("select from pg_database where datname = $1", [name]);
    if (rowCount) return;
    const building = `${name}_building`;
    await client.query(`drop database if exists ${building} with (force)`);
    await client.query(`create database ${building}`);
    await prepareDatabase(serverUrl(building), createLog("warn"), { createPos: true });
    await client.query(`alter database ${building} rename to ${name}`);
  });
  return name;
}

export type TestDatabase = {
  url: string;
  /** Superuser pool. */
  pool: Pool;
  /** A pool whose connections act as this role; ended with the database. */
  poolAs(role: DatabaseRole, max?: number): Pool;
  drop(): Promise<void>;
};

/** A fresh database of its own: empty POS tables, our schemas, nothing else. */
export async function createTestDatabase(): Promise<TestDatabase> {
  return createDatabase(await ensureTemplate());
}

/** A fresh database with nothing in it at all. */
export async function createEmptyDatabase(): Promise<TestDatabase> {
  return createDatabase("template0");
}

async function createDatabase(template: string): Promise<TestDatabase> {
  const name = `nexus_test_${randomUUID().replaceAll("-", "")}`;
  await withServer(async (client) => {
    // Only one session may copy a template at a time.
    await client.query("select pg_advisory_lock(7041948598)");
    await client.query(`create database ${name} template ${template}`);
  });
  const url = serverUrl(name);
  const pools: Pool[] = [];
  const pool = new Pool({ connectionString: url, max: 20, options: "-c TimeZone=UTC" });
  pool.on("error", () => {});
  pools.push(pool);
  return {
    url,
    pool,
    poolAs(role, max = 10) {
      const created = createPool({
        connectionString: url,
        log: createLog("silent"),
        max,
        name: `test-${role}`,
        role,
      });
      pools.push(created);
      return created;
    },
    async drop() {
      await Promise.all(pools.map((p) => (p.ended ? undefined : p.end())));
      await withServer((client) => client.query(`drop database if exists ${name} with (force)`));
    },
  };
}
