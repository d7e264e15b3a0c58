import { globalSetup, globalTeardown } from "../support/cluster.ts";
import { until } from "../support/until.ts";
import { addProbe, createProbeDatabase, runsOf, spawnWorker } from "../worker/probes.ts";
import { milliseconds, printTable, quantile } from "./figures.ts";

/**
 * From kill -9 of a worker to its job running again in another one, 50 times.
 * Run it with: npx node test/bench/rescue.ts. On an embedded Postgres of its own.
 */

const kills = 50;

async function bench(): Promise<number[]> {
  const db = await createProbeDatabase();
  let workers = [await spawnWorker(db), await spawnWorker(db)];
  const took: number[] = [];
  try {
    for (let kill = 0; kill < kills; kill += 1) {
      const job = await addProbe(db, { name: "long", sqlSeconds: 600 });
      await until("it runs", async () => (await runsOf(db, job)).length === 1);
      const { rows } = await db.pool.query<{ pid: number; at: Date }>(
        `select w.pid, clock_timestamp() as at from graphile_worker._private_jobs j
         join nexus_engine.worker_pool w on w.worker = j.locked_by where j.id = $1`,
        [job],
      );
      const owner = workers.find((worker) => worker.pid === rows[0]?.pid);
      if (!owner || !rows[0]) throw new Error("the job is nobody's");
      owner.kill("SIGKILL");
      await until("it runs again", async () => (await runsOf(db, job)).length === 2);
      const again = await db.pool.query<{ ms: number }>(
        `select extract(epoch from started_at - $2)::float8 * 1000 as ms
         from nexus_engine.job_run where job_id = $1 and attempt = 2`,
        [job, rows[0].at],
      );
      took.push(again.rows[0]?.ms ?? Number.NaN);
      await db.pool.query("select nexus_engine.cancel_job($1, 'measured')", [job]);
      workers = [...workers.filter((worker) => worker !== owner), await spawnWorker(db)];
    }
  } finally {
    for (const worker of workers) worker.kill("SIGKILL");
    await db.drop();
  }
  return took;
}

await globalSetup();
try {
  const took = await bench();
  printTable(
    `From kill -9 of a worker to its job running again, ${took.length} times`,
    ["", "p50", "p99", "max"],
    [["two workers", ...[0.5, 0.99, 1].map((q) => milliseconds(quantile(took, q)))]],
  );
} finally {
  await globalTeardown();
}
