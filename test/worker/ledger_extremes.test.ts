import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, afterEach, before, describe, it } from "node:test";
import type { Pool } from "pg";
import { z } from "zod";
import { createLog } from "../../src/log.ts";
import type { TaskDefinition } from "../../src/worker/define-task.ts";
import { createLedger } from "../../src/worker/ledger.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { jobsLeft, runJobs } from "../support/jobs.ts";

describe("what the ledger can hardly hold", () => {
  let db: TestDatabase;
  let worker: Pool;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
  });
  afterEach(() =>
    db.pool.query("delete from graphile_worker._private_jobs; delete from nexus_engine.job_run"),
  );
  after(() => db.drop());

  const enqueue = async (payload: unknown, options: Record<string, unknown> = {}) => {
    const { rows } = await db.pool.query(
      `select id from graphile_worker.add_job($1, $2, run_at => $3, max_attempts => $4)`,
      [
        options["task"] ?? "probe",
        JSON.stringify(payload),
        options["runAt"] ?? null,
        options["maxAttempts"] ?? null,
      ],
    );
    return rows[0].id;
  };
  const run = (act: TaskDefinition["run"], task = "probe") =>
    runJobs(worker, { tasks: { [task]: { payload: z.unknown(), run: act } } });
  const rows = async () =>
    (await db.pool.query("select * from nexus_engine.job_run order by id")).rows;

  const odd = 'it\'s "odd"\u{1f600}%s\\ \n';
  const jobs: [string, unknown, Record<string, unknown>][] = [
    ["due since ever", {}, { runAt: "-infinity" }],
    ["due since the year 4713 BC", {}, { runAt: "4713-01-01 00:00:00+00 BC" }],
    ["with a zero byte in its payload", { text: "a\0b", tiendas: ["\0"] }, {}],
    ["with half a character", { text: "\ud800" }, {}],
    ["with stores that are none", { tiendas: ["all", 7, null] }, {}],
    ["with as many attempts as there can be", {}, { maxAttempts: 32_767 }],
    ["of a task with an odd name", {}, { task: odd }],
  ];
  for (const [what, payload, options] of jobs) {
    it(`is not a job ${what}`, async () => {
      const id = await enqueue(payload, options);
      if (options["maxAttempts"]) {
        await db.pool.query("update graphile_worker._private_jobs set attempts = 32766");
      }
      await run(async () => ({ done: 1 }), options["task"] ? odd : "probe");
      assert.deepEqual(await jobsLeft(db.pool), []);
      const found = await rows();
      assert.deepEqual(
        found.map((row) => [row.job_id, row.outcome, row.counts]),
        [[id, "succeeded", { done: 1 }]],
      );
      if (options["runAt"] === "-infinity") assert.deepEqual(found[0].due_at, found[0].queued_at);
    });
  }

  const circle: Record<string, unknown> = {};
  circle["self"] = circle;
  const ends: [string, () => unknown, unknown[]][] = [
    ["counts with a zero byte", () => ({ text: "a\0b" }), ["succeeded", null, { text: "a\\0b" }]],
    ["a count with an odd name", () => ({ "a\0b": 1 }), ["succeeded", null, null]],
    ["half a character", () => ({ text: "\udc00" }), ["succeeded", null, { text: "\ufffd" }]],
    ["big integers", () => ({ rows: 2n ** 70n }), ["succeeded", null, { rows: `${2n ** 70n}` }]],
    ["a circle", () => circle, ["succeeded", null, { unreadable: true }]],
    ["a book", () => ({ text: "x".repeat(9_000) }), ["succeeded", null, { characters: 9_011 }]],
    [
      "an odd code",
      () => {
        throw Object.assign(new Error("x\0\ud800"), { code: "\0" });
      },
      ["retrying", "\\0", null],
    ],
  ];
  for (const [what, act, expected] of ends) {
    it(`is not an attempt that ends with ${what}`, async () => {
      await enqueue({});
      await run(async () => act() as Record<string, unknown>);
      const [row] = await rows();
      assert.deepEqual([row.outcome, row.error_code, row.counts], expected);
    });
  }

  it("is kept by its beginning, its size and its hash", async () => {
    const text = "ñ".repeat(1_000_000);
    await enqueue({ text });
    await run(async () => {
      throw new Error(text);
    });
    const payload = JSON.stringify({ text });
    const bytes = Buffer.byteLength(payload);
    const sha256 = createHash("sha256").update(payload).digest("hex");
    const [row] = await rows();
    assert.deepEqual(row.payload, { begins: payload.slice(0, 4096), bytes, sha256 });
    assert.match(row.error_message, /^ñ{4000}… \(1000000 characters, SHA-256 [0-9a-f]{64}\)$/);
    const [job] = await jobsLeft(db.pool);
    assert.equal(job?.last_error, row.error_message);
    assert.deepEqual(job?.payload, { text });

    await db.pool.query("delete from nexus_engine.job_run");
    await db.pool.query("select nexus_engine.cancel_job($1, $2)", [job?.id, text]);
    const [cancelled] = await rows();
    assert.equal(cancelled.payload.sha256, sha256);
    assert.equal(cancelled.error_message.length, 4_000);
  });

  it("is not a job with no attempt left, lost with its worker or cut short", async () => {
    for (const due of ["-infinity", "4713-01-01 00:00:00+00 BC"]) {
      for (const end of ["lost", "cut short"]) {
        const id = await enqueue({}, { runAt: due });
        await db.pool.query(
          `update graphile_worker._private_jobs
           set attempts = 32767, max_attempts = 32767, locked_at = now(), locked_by = 'w'`,
        );
        const run = { job: id, attempt: 32_767, age: 5, ended: 0, outcome: "retrying" };
        if (end === "lost") await worker.query("select nexus_engine.leave('w')");
        else {
          await worker.query("select nexus_engine.write_job_runs('w', $1)", [
            JSON.stringify([{ ...run, code: "SHUTDOWN", message: "the worker stopped" }]),
          ]);
        }
        await db.pool.query("delete from graphile_worker._private_jobs");
      }
    }
    assert.deepEqual(
      (await rows()).map(({ outcome }) => outcome),
      ["lost", "retrying", "lost", "retrying"],
    );
  });

  it("harms none of those that are written with it", async () => {
    const job = async (n: number) => {
      const id = await enqueue({ n });
      await db.pool.query(
        `update graphile_worker._private_jobs set attempts = 1, locked_at = now(), locked_by = 'w' where id = $1`,
        [id],
      );
      return { id, attempts: 1, locked_by: "w" } as unknown as Parameters<
        ReturnType<typeof createLedger>["begin"]
      >[0];
    };
    const all = await Promise.all(Array.from({ length: 9 }, (_, n) => job(n)));
    // Of a kind that nobody has thought of.
    await db.pool.query(
      `alter table nexus_engine.job_run add constraint probe check (job_id <> ${all[4]?.id})`,
    );
    const ledger = createLedger(worker, createLog("silent"));
    const ended = await Promise.allSettled(
      all.map((each, n) =>
        ledger.begin(each).finish({
          outcome: "succeeded",
          // Of these the ledger takes the end alone.
          counts: n % 4 === 1 ? { "a\0b": 1 } : { n },
        }),
      ),
    );
    await db.pool.query("alter table nexus_engine.job_run drop constraint probe");
    assert.deepEqual(
      ended.map(({ status }) => status),
      all.map((_, n) => (n === 4 ? "rejected" : "fulfilled")),
    );
    const written = (await rows()).map(({ job_id, outcome, counts }) => [job_id, outcome, counts]);
    assert.deepEqual(
      written,
      all.flatMap(({ id }, n) => (n === 4 ? [] : [[id, "succeeded", n % 4 === 1 ? null : { n }]])),
    );
  });
});
