import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createPool } from "../../src/database/pools.ts";
import { createLog } from "../../src/log.ts";
import { startWorker } from "../../src/worker/run.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { settings } from "../support/jobs.ts";

export const probesDir = join(import.meta.dirname, "probes");

/** A database with the table that the task `probe` writes to. */
export async function createProbeDatabase(): Promise<TestDatabase> {
  const db = await createTestDatabase();
  await db.pool.query("create table public.probe (name text)");
  await db.pool.query("grant select, insert on public.probe to nexus_worker");
  return db;
}

export async function addProbe(
  db: TestDatabase,
  payload: Record<string, unknown>,
  maxAttempts = 25,
): Promise<string> {
  const { rows } = await db.pool.query(
    "select id from graphile_worker.add_job('probe', $1, max_attempts => $2)",
    [JSON.stringify(payload), maxAttempts],
  );
  return rows[0].id;
}

export type LedgerRow = {
  attempt: number;
  outcome: string | null;
  error_code: string | null;
  error_message: string | null;
};

/** What the ledger says of a job, in the order of its attempts. */
export async function runsOf(db: TestDatabase, job: string): Promise<LedgerRow[]> {
  const { rows } = await db.pool.query<LedgerRow>(
    "select attempt, outcome, error_code, error_message from nexus_engine.job_run where job_id = $1 order by id",
    [job],
  );
  return rows;
}

/** Worker of the probes in a process of its own. */
export async function spawnWorker(db: TestDatabase): Promise<ChildProcess> {
  const child = spawn(process.execPath, [import.meta.filename], {
    env: { ...process.env, PROBE_DATABASE_URL: db.url },
    stdio: ["ignore", "pipe", "inherit"],
  });
  assert.ok(child.stdout);
  await once(child.stdout, "data");
  return child;
}

export async function startProbeWorker(url: string, log = createLog("silent")) {
  const pool = createPool({
    connectionString: url,
    log,
    max: 10,
    name: "probe",
    role: "nexus_worker",
  });
  const worker = await startWorker({
    pool,
    concurrency: 4,
    settings: { ...settings, jobTimeLimitMs: 60_000 },
    log,
    tasksDir: probesDir,
  });
  return {
    ...worker,
    pool,
    stop: async () => {
      await worker.stop();
      await pool.end();
    },
  };
}

if (process.env.PROBE_DATABASE_URL && process.argv[1] === import.meta.filename) {
  await startProbeWorker(process.env.PROBE_DATABASE_URL);
  console.log("ready");
}
