import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readdir } from "node:fs/promises";
import fc from "fast-check";
import type { Pool } from "pg";
import { tasksDir } from "../../src/worker/tasks.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore } from "../support/fixtures.ts";
import { runJobs } from "../support/jobs.ts";
import { texts } from "./values.ts";

/** Jobs as anybody who may write to Postgres enqueues them: any payload, for any task of ours. */

type Target = {
  db: TestDatabase;
  worker: Pool;
  tasks: string[];
  types: string[];
  /** Stores that payloads name, with something to tell; the third is closed. */
  named: string[];
  /** A store with something to tell that no payload names, and its request for a refresh. */
  bystander: string;
  foreignRequest: string;
  counts: Map<string, number>;
};

export async function openPayloads(): Promise<Target> {
  const db = await createTestDatabase();
  const named = [
    await addStore(db.pool),
    await addStore(db.pool),
    await addStore(db.pool, { isActive: false }),
  ];
  const bystander = await addStore(db.pool);
  for (const store of [...named, bystander]) await addProduct(db.pool, store, { stock: 1 });
  const { rows } = await db.pool.query("select id from nexus_engine.request_refresh($1)", [
    bystander,
  ]);
  await db.pool.query("delete from graphile_worker._private_jobs");
  const { rows: types } = await db.pool.query("select tipo from nexus_engine.insight_type");
  const files = await readdir(tasksDir);
  return {
    db,
    worker: db.poolAs("nexus_worker", 12),
    tasks: files.filter((file) => file.endsWith(".ts")).map((file) => file.replace(/\.ts$/, "")),
    types: types.map(({ tipo }) => tipo),
    named,
    bystander,
    foreignRequest: rows[0].id,
    counts: new Map(),
  };
}

type Case = { task: string; payload: string };

/** JSON that fast-check does not think of. */
const handMade = [
  "null",
  "[]",
  "[{}]",
  "0",
  '""',
  '"refresh"',
  "true",
  "{}",
  '{"a":1,"a":2}',
  '{"__proto__":{"tiendas":[]}}',
  '{"constructor":1}',
  '{"_cron":null}',
  '{"_cron":{"ts":"2026-11-24T12:00:00Z"}}',
  '{"_cron":{}}',
  '{"_cron":{"ts":1}}',
  '{"_cron":"now"}',
  `{"\\u0000":1}`,
  `{"\\ud800":"\\udfff"}`,
  `{"x":${"[".repeat(3000)}${"]".repeat(3000)}}`,
  `{"x":${'{"y":'.repeat(3000)}1${"}".repeat(3000)}}`,
  // No JSON at all.
  "",
  "{",
  "{'a':1}",
  "NaN",
  "undefined",
  '{"a":\u0001}',
];

/** For two tasks only: Postgres keeps each three times, and compresses it. */
const large = [
  `{"${"k".repeat(1_000_000)}":1}`,
  `{"x":"${"v".repeat(5_000_000)}"}`,
  `{"x":${"[".repeat(200_000)}${"]".repeat(200_000)}}`,
  `{${Array.from({ length: 20_000 }, (_, n) => `"k${n}":${n}`).join()}}`,
];

function refreshOf(target: Target): fc.Arbitrary<unknown> {
  const [open = "", other = "", closed = ""] = target.named;
  const id = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(open, other) },
    { weight: 2, arbitrary: fc.constantFrom(closed, open.toUpperCase()) },
    { weight: 2, arbitrary: fc.uuid() },
    {
      weight: 2,
      arbitrary: fc.constantFrom<unknown>(
        `{${open}}`,
        open.replaceAll("-", ""),
        `${open} `,
        `${open}\u0000`,
        open.slice(1),
        null,
        7,
        [open],
        { id: open },
      ),
    },
    { weight: 1, arbitrary: texts },
  );
  const many = (n: number) => Array.from({ length: n }, () => randomUUID());
  const tiendas = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.array(fc.constantFrom(open, other), { minLength: 1, maxLength: 3 }),
    },
    { weight: 6, arbitrary: fc.array(id, { maxLength: 4 }) },
    {
      weight: 1,
      arbitrary: fc.constantFrom<unknown>(
        open,
        { 0: open, length: 1 },
        `{${open}}`,
        JSON.stringify([open]),
        null,
        true,
        [[open]],
      ),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(1000, 1001).map((n) => [open, ...many(n - 1)]),
    },
    { weight: 1, arbitrary: fc.constant(Array(1000).fill(open)) },
  );
  const tipos = fc.oneof(
    { weight: 5, arbitrary: fc.subarray(target.types, { minLength: 1 }) },
    {
      weight: 3,
      arbitrary: fc.constantFrom<unknown>(
        [],
        null,
        "STOCK_BAJO",
        ["stock_bajo"],
        ["NADA"],
        ["STOCK_BAJO\u0000"],
        ["\ud800"],
        ["STOCK_BAJO", null],
        [1],
        Array(101).fill("STOCK_BAJO"),
        Array(100).fill("STOCK_BAJO"),
        ["X".repeat(1_000_000)],
        ["'); drop table public.insights; --"],
      ),
    },
    { weight: 1, arbitrary: fc.array(texts, { maxLength: 3 }) },
  );
  const force = fc.oneof(fc.boolean(), fc.constantFrom<unknown>("true", 1, 0, null, "", []));
  const request = fc.oneof(
    fc.uuid(),
    fc.constantFrom<unknown>(
      target.foreignRequest,
      target.foreignRequest.toUpperCase(),
      "x",
      7,
      null,
    ),
  );
  const rest = {
    tipos: fc.option(tipos, { nil: undefined, freq: 2 }),
    force: fc.option(force, { nil: undefined, freq: 2 }),
    request_id: fc.option(request, { nil: undefined, freq: 1 }),
    tienda: fc.option(texts, { nil: undefined, freq: 1 }),
  };
  const absent = (record: Record<string, unknown>) =>
    Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));
  return fc.oneof(
    { weight: 8, arbitrary: fc.record({ tiendas, ...rest }).map(absent) },
    { weight: 4, arbitrary: fc.record({ tiendas }) },
    { weight: 1, arbitrary: fc.record(rest).map(absent) },
    { weight: 2, arbitrary: fc.jsonValue() },
  );
}

/** A hundred thousand stores: too large to draw again and again. */
function manyStores(target: Target): string[] {
  const [open = ""] = target.named;
  const many = Array.from({ length: 100_000 }, () => randomUUID());
  return [
    JSON.stringify({ tiendas: [open, ...many] }),
    JSON.stringify({ tiendas: Array(100_000).fill(open) }),
    JSON.stringify({ tiendas: Array(100_000).fill("x") }),
    JSON.stringify({ tiendas: [open], tipos: Array(100_000).fill(7) }),
  ];
}

function caseOf(target: Target): fc.Arbitrary<Case> {
  const scheduled = target.tasks.filter((task) => task !== "refresh_stores");
  return fc.oneof(
    {
      weight: 3,
      arbitrary: refreshOf(target).map((payload) => ({
        task: "refresh_stores",
        payload: JSON.stringify(payload) ?? "null",
      })),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        task: fc.constantFrom(...scheduled),
        payload: fc
          .oneof(fc.jsonValue(), refreshOf(target))
          .map((payload) => JSON.stringify(payload) ?? "null"),
      }),
    },
  );
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** What must become of a job, worked out here without the tasks' own rules. */
function expected(target: Target, { task, payload }: Case): "done" | "failed" {
  const given: unknown = JSON.parse(payload) ?? {};
  if (typeof given !== "object" || given === null || Array.isArray(given)) return "failed";
  const record = given as Record<string, unknown>;
  const keys = Object.keys(record);
  if (task !== "refresh_stores") {
    if (keys.some((key) => key !== "_cron")) return "failed";
    if (!keys.length || !task.startsWith("generate_")) return "done";
    const cron = record["_cron"] as { ts?: unknown; backfilled?: unknown } | null;
    const ok = typeof cron === "object" && !Array.isArray(cron) && typeof cron?.ts === "string";
    return ok && ["undefined", "boolean"].includes(typeof cron.backfilled) ? "done" : "failed";
  }
  if (keys.some((key) => !["tiendas", "tipos", "force", "request_id"].includes(key)))
    return "failed";
  const { tiendas, tipos, force, request_id: request } = record;
  if (!Array.isArray(tiendas) || tiendas.length < 1 || tiendas.length > 1000) return "failed";
  if (!tiendas.every((id) => typeof id === "string" && uuid.test(id))) return "failed";
  if ("tipos" in record) {
    if (!Array.isArray(tipos) || tipos.length < 1 || tipos.length > 100) return "failed";
    if (!tipos.every((tipo) => typeof tipo === "string" && /^[A-Z][A-Z0-9_]{0,62}$/.test(tipo)))
      return "failed";
  }
  if ("force" in record && typeof force !== "boolean") return "failed";
  if ("request_id" in record) {
    if (typeof request !== "string" || !uuid.test(request)) return "failed";
    // One that is not there has ended long ago; one of a store that is not named is not ours to end.
    return request.toLowerCase() === target.foreignRequest ? "failed" : "done";
  }
  if (!tiendas.some((id) => target.named.slice(0, 2).includes(id.toLowerCase()))) return "failed";
  return ((tipos ?? []) as string[]).every((tipo) => target.types.includes(tipo))
    ? "done"
    : "failed";
}

/** Everything that stands about the store, in whichever table. */
async function stateOf({ db, bystander }: Target): Promise<string> {
  const { rows: tables } = await db.pool.query<{ name: string }>(
    `select a.attrelid::regclass::text as name from pg_attribute a join pg_class c on c.oid = a.attrelid
     where c.relkind = 'r' and c.relnamespace::regnamespace::text in ('public', 'nexus_engine') and a.attname = 'tienda_id'`,
  );
  assert.ok(tables.length >= 15);
  const { rows } = await db.pool.query(
    tables
      .map(
        ({ name }) =>
          `select md5(string_agg(t::text, '|' order by t::text)) from ${name} t where tienda_id = $1`,
      )
      .join(" union all "),
    [bystander],
  );
  return JSON.stringify(rows);
}

const count = (target: Target, key: string) =>
  target.counts.set(key, (target.counts.get(key) ?? 0) + 1);

/** Enqueues these jobs and a good one among them, runs them all, and looks at what became of each. */
async function runCases(target: Target, cases: Case[]): Promise<void> {
  const { db, worker, named } = target;
  const before = await stateOf(target);
  const enqueued: (Case & { id: string })[] = [];
  // A scheduled task with a good payload may do something for every store.
  const forAll = cases.filter(
    (each) =>
      each.task !== "refresh_stores" && isJson(each.payload) && expected(target, each) === "done",
  );
  for (const each of cases) {
    if (forAll.includes(each)) continue;
    await enqueue(target, each, enqueued);
  }
  const good = {
    task: "refresh_stores",
    payload: JSON.stringify({ tiendas: named.slice(0, 1), force: true }),
  };
  await enqueue(target, good, enqueued);
  await runJobs(worker);
  assert.equal(
    await stateOf(target),
    before,
    "something was written for a store that was not named",
  );
  await judge(target, enqueued);

  const scheduled: (Case & { id: string })[] = [];
  for (const each of new Map(forAll.map((each) => [each.task, each])).values()) {
    await enqueue(target, each, scheduled);
  }
  if (scheduled.length === 0) return;
  await runJobs(worker);
  await judge(target, scheduled);
  // For the next ones the store has news again.
  await db.pool.query("delete from nexus_engine.open_insight where tienda_id = $1", [
    target.bystander,
  ]);
  await db.pool.query("delete from public.insights where tienda_id = $1", [target.bystander]);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

async function enqueue(target: Target, each: Case, into: (Case & { id: string })[]): Promise<void> {
  try {
    const { rows } = await target.db.pool.query(
      "select id from graphile_worker.add_job($1, $2::json)",
      [each.task, each.payload],
    );
    into.push({ ...each, id: rows[0].id });
  } catch (error) {
    const code = String((error as { code?: string }).code);
    // No JSON, or nested deeper than Postgres reads.
    assert.ok(
      ["22P02", "22P05", "54001"].includes(code),
      `${each.payload.slice(0, 100)}: ${error}`,
    );
    count(target, `${each.task}: refused by Postgres ${code}`);
  }
}

async function judge(target: Target, enqueued: (Case & { id: string })[]): Promise<void> {
  const { rows } = await target.db.pool.query(
    `select r.job_id, r.outcome, r.error_code, r.error_message, j.id is not null as left_over,
       j.attempts, j.max_attempts, j.last_error, j.locked_by
     from nexus_engine.job_run r left join graphile_worker._private_jobs j on j.id = r.job_id
     where r.job_id = any ($1)`,
    [enqueued.map(({ id }) => id)],
  );
  const runs = new Map(rows.map((row) => [row.job_id, row]));
  assert.equal(rows.length, enqueued.length, "an attempt each");
  for (const { id, task, payload } of enqueued) {
    const run = runs.get(id);
    const what = `${task} ${payload.slice(0, 200)}: ${JSON.stringify(run).slice(0, 600)}`;
    if (expected(target, { task, payload }) === "done") {
      assert.deepEqual([run.outcome, run.left_over], ["succeeded", false], what);
    } else {
      assert.deepEqual([run.outcome, run.attempts, run.locked_by], ["failed", 1, null], what);
      assert.equal(run.max_attempts, 1, `would be tried again: ${what}`);
      assert.match(
        run.error_message,
        new RegExp(`^${task}: payload.*: .*expected.*, got `, "s"),
        what,
      );
      assert.ok(
        run.error_message.length < 3000 && run.last_error.length < 8000,
        `too long: ${what.slice(0, 300)}`,
      );
    }
    count(target, `${task}: ${run.outcome} ${run.error_code ?? ""}`.trim());
  }
  await target.db.pool.query(
    "delete from graphile_worker._private_jobs; delete from nexus_engine.job_run",
  );
}

/** Tries the hand-made payloads, for every task unless only a slice is wanted, then so many drawn ones. */
export async function fuzzPayloads(
  target: Target,
  runs: number,
  seed: number,
  { slice = false } = {},
): Promise<void> {
  const tasks = slice ? ["refresh_stores", "generate_sales_summary"] : target.tasks;
  const byHand = tasks.flatMap((task) => handMade.map((payload) => ({ task, payload })));
  for (const task of slice ? [] : ["refresh_stores", "purge"]) {
    byHand.push(...large.map((payload) => ({ task, payload })));
  }
  const many = manyStores(target).slice(0, slice ? 1 : undefined);
  byHand.push(...many.map((payload) => ({ task: "refresh_stores", payload })));
  const cases = [...byHand, ...fc.sample(caseOf(target), { numRuns: runs, seed })];
  for (let n = 0; n < cases.length; n += 250) await runCases(target, cases.slice(n, n + 250));
}
