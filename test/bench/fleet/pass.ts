import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { parentOf, treeCpu } from "../cpu.ts";
import { addTask, untilIdle } from "./fleet.ts";

export type Pass = {
  seconds: number;
  /** CPU seconds of the workers, and of Postgres; NaN where they cannot be seen. */
  workerCpu: number;
  postgresCpu: number;
  /** Statements that the workers sent; NaN without pg_stat_statements. */
  statements: number;
  walBytes: number;
  /** Insights inserted, updated and archived by the jobs, and not by the drains. */
  written: number;
};

/**
 * The hourly dispatch, from the moment that it is enqueued until the end of its last job, as the
 * ledger has both, or until the outbox is empty. Throws unless every attempt succeeded and everything was
 * told of every store.
 */
export async function runPass(owner: Client, pids: number[], stores: number): Promise<Pass> {
  const before = await readings(owner, pids);
  const began = performance.now();
  await addTask(owner, "generate_all_insights");
  await untilIdle(owner);
  // What the drains tell at the same time.
  let drained = 0;
  while ((await owner.query("select from nexus_engine.stock_event limit 1")).rowCount) {
    await sleep(10);
    drained = (performance.now() - began) / 1000;
  }
  const after = await readings(owner, pids);
  const { rows } = await owner.query<Ledger>(
    `select extract(epoch from max(finished_at) - min(queued_at))::float8 as seconds,
       count(*) filter (where outcome is distinct from 'succeeded')::int as unsuccessful,
       (select count(distinct k.tienda_id)::int from nexus_engine.stock_told k
        where k.tienda_id not in (
          select u from unnest(nexus_engine.unsettled_stores(array(select t.id from public.tiendas t))) u)) as stores,
       coalesce(sum((counts ->> 'inserted')::int + (counts ->> 'updated')::int + (counts ->> 'archived')::int), 0)::int as written
     from nexus_engine.job_run where id > $1`,
    [before.lastRun],
  );
  const [ledger] = rows;
  if (!ledger || ledger.unsuccessful > 0 || ledger.stores !== stores) {
    throw new Error(`expected all told of ${stores} stores, got ${JSON.stringify(ledger)}`);
  }
  return {
    seconds: Math.max(ledger.seconds, drained),
    written: ledger.written,
    workerCpu: after.workerCpu - before.workerCpu,
    postgresCpu: after.postgresCpu - before.postgresCpu,
    statements: after.statements - before.statements,
    walBytes: after.wal - before.wal,
  };
}

type Ledger = { seconds: number; unsuccessful: number; stores: number; written: number };

async function readings(owner: Client, pids: number[]) {
  const { rows } = await owner.query<{ lastRun: string; wal: number; backend: number }>(
    `select coalesce(max(id), 0) as "lastRun", pg_backend_pid() as backend,
       (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8 as wal
     from nexus_engine.job_run`,
  );
  const { lastRun = "0", wal = Number.NaN, backend = 0 } = rows[0] ?? {};
  const workers = await Promise.all(pids.map(treeCpu));
  return {
    lastRun,
    wal,
    workerCpu: workers.reduce((sum, cpu) => sum + cpu, 0),
    postgresCpu: await treeCpu(await parentOf(backend)),
    statements: await workerStatements(owner),
  };
}

/** What the workers' role has sent, transactions' begin and commit included; not what functions run. */
async function workerStatements(owner: Client): Promise<number> {
  if (!(await countsStatements(owner))) return Number.NaN;
  const { rows } = await owner.query<{ calls: number }>(
    `select coalesce(sum(s.calls), 0)::float8 as calls
     from pg_stat_statements s join pg_roles r on r.oid = s.userid and r.rolname = 'nexus_worker'
     where s.toplevel and s.dbid = (select oid from pg_database where datname = current_database())`,
  );
  return rows[0]?.calls ?? Number.NaN;
}

let counts: boolean | undefined;

/** Whether the server can: it must have been started with the module. */
export async function countsStatements(owner: Client): Promise<boolean> {
  counts ??= await owner
    .query(
      "create extension if not exists pg_stat_statements; select from pg_stat_statements limit 1",
    )
    .then(
      () => true,
      () => false,
    );
  return counts;
}
