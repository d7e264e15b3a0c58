import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { Client } from "pg";
import { sqlState } from "../../src/database/away.ts";
import { createPosSchema } from "../../src/database/pos.ts";
import { type Audit, audit } from "./attach/audit.ts";
import { connectAs, startTraffic, type Traffic } from "./attach/traffic.ts";
import { isOfThePos, type Wait, watchWaits } from "./attach/waits.ts";
import { asOwner, withEmptyDatabase } from "./database.ts";
import { fill } from "./dataset.ts";
import { milliseconds, numberOption, printTable, quantile } from "./figures.ts";
import { type Engine, startEngine } from "./memory/engine.ts";

/**
 * What a POS of 200 stores and 600,000 tickets notices of us while it sells: the first start, attach() and
 * detach(), its own alterations between them, row level security, and a backup that reads all of it meanwhile.
 * Run it with: npx node test/bench/attach.ts [--seconds 15]. On an embedded Postgres of its own, or on the server
 * of BENCH_DATABASE_URL.
 *
 * `npm start` runs in a process of its own. Latencies contain the CPU that the engine takes from the cashiers
 * where machine and cores are shared; "waited for us" does not: these are waits for locks, as seen every few
 * milliseconds, behind a session that is not the POS's.
 */
const { values: options } = parseArgs({ options: { seconds: { type: "string", default: "15" } } });
const phaseMs = numberOption("seconds", options.seconds, 1) * 1000;
/** An operator's call is given up after this. */
const patience = "10s";
/** And the engine is not waited for any longer than this. */
const catchUpMs = 60_000;

type Phase = { name: string; from: number; until: number; took: number; outcome: string };
type Bench = { pos: Client; operator: Client; phases: Phase[] };

/** `work` under the load, and after it the load alone until the phase has lasted its time. */
async function phase({ phases }: Bench, name: string, work?: () => Promise<string | undefined>) {
  const from = performance.now();
  const outcome = (await work?.()) ?? "";
  const took = performance.now() - from;
  await sleep(Math.max(phaseMs - took, 500));
  phases.push({ name, from, until: performance.now(), took: work ? took : 0, outcome });
}

/** The SQLSTATE and message where it is refused; undefined where it is done. */
async function attempt(client: Client, statement: string): Promise<string | undefined> {
  try {
    await client.query(statement);
    return undefined;
  } catch (error) {
    await client.query("rollback");
    return `${sqlState(error)} ${(error as Error).message}`;
  }
}

/** Each in a transaction of its own. */
async function attemptAll(client: Client, statements: string[]): Promise<string | undefined> {
  const refused: string[] = [];
  for (const statement of statements) {
    const why = await attempt(client, statement);
    if (why) refused.push(why);
  }
  return refused.length > 0 ? refused.join("; ") : undefined;
}

const alterations = [
  "alter table public.productos alter nombre type varchar(300)",
  "alter table public.ventas alter metodo_pago type varchar(60)",
  "alter table public.insights alter tipo type text",
];
const secured = ["tiendas", "users", "productos", "ventas", "detalles_venta", "insights"];

async function bench(url: string): Promise<void> {
  await asOwner(url, async (owner) => {
    await createPosSchema(owner);
    await fill(owner, await readFile(join(import.meta.dirname, "attach/shops.sql"), "utf8"));
    await owner.query("vacuum analyze");
  });
  const pos = await connectAs(url, "pos-migration");
  const operator = await connectAs(url, "operator");
  await operator.query(`set lock_timeout = '${patience}'`);
  const all: Bench = { pos, operator, phases: [] };
  const traffic = await startTraffic(url);
  const watch = await watchWaits(url);
  let engine: Engine | undefined;
  try {
    await sleep(2_000);
    await phase(all, "the POS alone");
    await phase(all, "first start, until all is told and rolled up", async () => {
      engine = await startEngine(url);
      return await caughtUp(pos);
    });
    await phase(all, "work");
    await detachAndAttach(all);
    for (const [name, action] of [
      ["on", "enable"],
      ["off", "disable"],
    ]) {
      await phase(all, `row level security ${name}`, () =>
        attemptAll(
          pos,
          secured.map((t) => `alter table public.${t} ${action} row level security`),
        ),
      );
    }
    await phase(all, "work");
    await besideBackup(all, url);
    await engine?.stop();
    await phase(all, "the POS alone, once more, detached");
    await traffic.stop();
    print(all.phases, traffic, watch.waits);
    await operator.query("select nexus_engine.attach()");
    engine = await startEngine(url);
    const left = await caughtUp(pos);
    // The outbox is drained all the time, but by no job.
    await sleep(1_000);
    printAudit(await audit(operator), left);
  } finally {
    await engine?.stop();
    await traffic.stop();
    await watch.stop();
    await pos.end();
    await operator.end();
  }
}

async function detachAndAttach(all: Bench): Promise<void> {
  const { pos, operator } = all;
  await phase(all, "detach()", () => attempt(operator, "select nexus_engine.detach()"));
  await phase(all, "its own alter type, without a rewrite", () => attemptAll(pos, alterations));
  await phase(all, "attach(), until all is told and rolled up", async () => {
    return (await attempt(operator, "select nexus_engine.attach()")) ?? (await caughtUp(pos));
  });
  await phase(all, "work");
}

/** A backup holds ACCESS SHARE on every table until it ends. */
async function besideBackup(all: Bench, url: string): Promise<void> {
  const { pos, operator } = all;
  const backup = await connectAs(url, "pos-backup");
  const begin = () =>
    backup.query(
      `begin isolation level repeatable read; ${secured.map((t) => `select from public.${t} limit 1`).join(";")}`,
    );
  await begin();
  await phase(all, "detach() beside a backup", () =>
    attempt(operator, "select nexus_engine.detach()"),
  );
  await backup.query("commit");
  await phase(all, "detach() when it has ended", () =>
    attempt(operator, "select nexus_engine.detach()"),
  );
  await begin();
  await phase(all, "attach() beside a backup", () =>
    attempt(operator, "select nexus_engine.attach()"),
  );
  await backup.query("commit");
  await backup.end();
  await phase(all, "attach() when it has ended", async () => {
    return (await attempt(operator, "select nexus_engine.attach()")) ?? (await caughtUp(pos));
  });
  await phase(all, "detach()", () => attempt(operator, "select nexus_engine.detach()"));
}

/** Until every store is rolled up and no job has been waiting for long; undefined, or what is left. */
async function caughtUp(pos: Client): Promise<string | undefined> {
  // Instead of waiting for the schedule.
  await pos.query("select graphile_worker.add_job('roll_up')");
  for (const until = performance.now() + catchUpMs; ; ) {
    const { rows } = await pos.query<{ stores: number; jobs: number }>(
      `select (select count(*)::int from public.tiendas) - (select count(*)::int from nexus_engine.rollup_state) as stores,
         (select count(*)::int from graphile_worker.jobs where run_at < now()) as jobs`,
    );
    const [left] = rows;
    if (left?.stores === 0 && left.jobs === 0) return undefined;
    if (performance.now() > until) return `${left?.stores} stores and ${left?.jobs} jobs are left`;
    await sleep(100);
  }
}

function print(phases: Phase[], { done, failed }: Traffic, waits: Wait[]): void {
  const rows = phases.map(({ name, from, until, took, outcome }) => {
    const within = done.filter(({ began, ms }) => began + ms >= from && began < until);
    const checkouts = within.filter(({ kind }) => kind === "checkout").map(({ ms }) => ms);
    const rest = within.filter(({ kind }) => kind !== "checkout").map(({ ms }) => ms);
    const seen = waits.filter(({ at }) => at >= from && at < until);
    const longest = (ours: boolean) =>
      Math.max(0, ...seen.filter((wait) => isOfThePos(wait.name) !== ours).map(({ ms }) => ms));
    return [
      outcome ? `${name} *` : name,
      took ? milliseconds(took) : "",
      checkouts.length,
      ...[0.5, 0.99, 1].map((q) => milliseconds(quantile(checkouts, q))),
      milliseconds(quantile(rest, 1)),
      milliseconds(longest(true)),
      milliseconds(longest(false)),
    ];
  });
  printTable(
    `What 6 cashiers notice, ${phaseMs / 1000} s a phase`,
    [
      "",
      "took",
      "checkouts",
      "p50",
      "p99",
      "worst",
      "worst of the rest",
      "waited for us",
      "for the POS",
    ],
    rows,
  );
  for (const { name, outcome } of phases) if (outcome) console.log(`  * ${name}: ${outcome}`);
  printOurs(phases, waits);
  console.log(`\nFailed: ${failed.length}`);
  for (const why of new Set(failed)) console.log(`  ${why}`);
  if (failed.length > 0) process.exitCode = 1;
}

/** In each phase the longest wait behind each session of ours for each lock. */
function printOurs(phases: Phase[], waits: Wait[]): void {
  for (const { name, from, until } of phases) {
    const longest = new Map<string, number>();
    for (const wait of waits) {
      if (isOfThePos(wait.name) || wait.at < from || wait.at >= until) continue;
      const key = `${wait.lock}, behind ${wait.name}`;
      longest.set(key, Math.max(wait.ms, longest.get(key) ?? 0));
    }
    for (const [key, ms] of [...longest].sort((a, b) => b[1] - a[1]).slice(0, 4)) {
      if (ms > 10) console.log(`  ${name}: waited ${milliseconds(ms)} for ${key}`);
    }
  }
}

function printAudit(found: Audit, left: string | undefined): void {
  console.log(`\nIn the end, attached again${left ? ` (not caught up: ${left})` : ""}:`);
  for (const [what, n] of Object.entries(found)) console.log(`  ${what}: ${n}`);
}

await withEmptyDatabase("attach", bench);
