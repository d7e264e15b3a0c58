import { setTimeout as sleep } from "node:timers/promises";
import { treeCpu } from "../cpu.ts";
import { openBullMq } from "./bullmq.ts";
import type { ContenderOptions } from "./contender.ts";
import { openBare, openOurs } from "./graphile.ts";
import { openPgBoss } from "./pg_boss.ts";

const kinds = { ours: openOurs, bare: openBare, pgBoss: openPgBoss, bullMq: openBullMq };

export type Kind = keyof typeof kinds;

export type Order = ContenderOptions & {
  kind: Kind;
  /** Jobs that wait when the worker begins. */
  jobs: number;
  /** Jobs enqueued one by one afterwards, to an idle worker. */
  singles: number;
  /** The process of the store: Postgres's first, or Redis. */
  storePid: number;
};

export type Measured = {
  /** From the start of the first job until the end of the last is stored. */
  jobsPerSecond: number;
  /** CPU time of a job in this process and in the store's, microseconds. */
  workerCpu: number;
  storeCpu: number;
  /** From the commit of each single job to its start, ms. */
  latencies: number[];
};

/** Between two single jobs, on average. */
const pauseMs = 20;

async function measure({ kind, jobs, singles, storePid, ...options }: Order): Promise<Measured> {
  const contender = await kinds[kind](options);
  const startedAt = new Map<number, number>();
  let onAll = () => {};
  await contender.fill(jobs);
  const cpuBefore = { worker: process.cpuUsage(), store: await treeCpu(storePid) };
  const all = new Promise<void>((resolve) => {
    onAll = resolve;
  });
  let expected = jobs;
  await contender.work((n) => {
    startedAt.set(n, performance.now());
    if (startedAt.size === expected) onAll();
  });
  await all;
  while ((await contender.left()) > 0) await sleep(2);
  const ended = performance.now();
  const began = Math.min(...startedAt.values());
  const { user, system } = process.cpuUsage(cpuBefore.worker);
  const storeCpu = (await treeCpu(storePid)) - cpuBefore.store;

  await sleep(500);
  const sentAt = new Map<number, number>();
  expected = jobs + singles;
  const rest = new Promise<void>((resolve) => {
    onAll = resolve;
  });
  for (let n = jobs; n < expected; n += 1) {
    sentAt.set(n, await contender.enqueue(n));
    await sleep(pauseMs * (0.5 + Math.random()));
  }
  if (singles > 0) await rest;
  await contender.end();
  return {
    jobsPerSecond: (jobs * 1000) / (ended - began),
    workerCpu: (user + system) / jobs,
    storeCpu: (storeCpu * 1e6) / jobs,
    latencies: [...sentAt].map(([n, sent]) => (startedAt.get(n) ?? Number.NaN) - sent),
  };
}

// node test/bench/jobs/measure.ts ORDER, as JSON; the figures come as JSON on standard output.
if (import.meta.main) {
  const measured = await measure(JSON.parse(process.argv[2] ?? ""));
  console.log(JSON.stringify(measured));
  process.exit();
}
