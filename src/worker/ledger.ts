import { setTimeout as sleep } from "node:timers/promises";
import type { Job } from "graphile-worker";
import type { Pool } from "pg";
import { backoff, codeOf } from "../database/away.ts";
import type { Logger } from "../log.ts";
import type { Failure } from "./failure.ts";

/** An attempt that ends sooner is written once, whole; were its worker killed, its rescuer writes it. */
const writtenAfterMs = 100;
const runsPerWrite = 500;
/** While one waits for its commit, the next can collect and compute: more brings nothing. */
const writers = 2;
const retryMs = { first: 100, most: 5_000 };

/** How an attempt ended. */
export type End = Failure | { outcome: "succeeded"; counts: Record<string, unknown> | undefined };

/** One attempt of a job. */
export type Run = {
  /** The stores that its payload names. */
  tiendas: string[] | undefined;
  /**
   * Settles when the end is in the ledger: true, or false when the job was taken away before, so
   * that this end is not the job's.
   */
  finish(end: End): Promise<boolean>;
};

export type Ledger = {
  begin(job: Job): Run;
};

type Entry = {
  readonly worker: string;
  readonly job: string;
  readonly attempt: number;
  readonly began: number;
  readonly run: Run;
  /** Where it stands in the ledger, once it does. */
  id?: string | null;
  /** By one of the writers: where it stands is not known before that has ended. */
  writing?: boolean;
  ended?: { at: number; end: End; settle: PromiseWithResolvers<boolean> };
};

/**
 * Writes nexus_engine.job_run. What comes while a write is under way goes with the next one: the
 * busier the worker, the fewer the transactions a job.
 */
export function createLedger(pool: Pool, log: Logger): Ledger {
  const young = new Set<Entry>();
  const waiting = new Set<Entry>();
  let looking = false;
  let busy = 0;

  const enqueue = (entry: Entry) => {
    waiting.add(entry);
    if (busy < writers) void writeAll();
  };

  const lookAfter = (ms: number) => {
    if (looking) return;
    looking = true;
    setTimeout(enterOld, ms).unref();
  };

  /** Enters the attempts that have run for long enough to be seen running. */
  const enterOld = () => {
    looking = false;
    for (const entry of young) {
      const left = entry.began + writtenAfterMs - performance.now();
      if (left > 1) {
        lookAfter(left);
        return;
      }
      young.delete(entry);
      enqueue(entry);
    }
  };

  async function writeAll(): Promise<void> {
    busy += 1;
    // What else ends in this turn of the event loop comes along.
    await Promise.resolve();
    for (let batch = nextBatch(); batch; batch = nextBatch()) {
      await write(batch[0].worker, batch);
      for (const entry of batch) entry.writing = false;
    }
    busy -= 1;
  }

  /** Of one worker. */
  function nextBatch(): [Entry, ...Entry[]] | undefined {
    let batch: [Entry, ...Entry[]] | undefined;
    for (const entry of waiting) {
      if (entry.writing || (batch && entry.worker !== batch[0].worker)) continue;
      if (batch) batch.push(entry);
      else batch = [entry];
      entry.writing = true;
      waiting.delete(entry);
      if (batch.length === runsPerWrite) break;
    }
    return batch;
  }

  /** @param again whether it may have been written already. */
  async function write(worker: string, batch: Entry[], again = false): Promise<void> {
    let records = batch.map((entry) => toRecord(entry, again));
    // Those that end during the write are written again.
    const ended = batch.filter((entry) => entry.ended);
    const wait = backoff(retryMs.first, retryMs.most);
    let overtaken = false;
    let bare = false;
    for (;;) {
      try {
        const { rows } = await pool.query<{ id: string | null }>({
          name: "write_job_runs",
          text: "select id from nexus_engine.write_job_runs($1, $2) id",
          values: [worker, JSON.stringify(records)],
        });
        for (const [index, entry] of batch.entries()) entry.id = rows[index]?.id ?? null;
        for (const entry of ended) entry.ended?.settle.resolve(entry.id !== null);
        return;
      } catch (error) {
        const code = codeOf(error);
        // Postgres was still at the one before, and entered this meanwhile: the next time it is seen.
        const late: boolean = again && !overtaken && code === "23505";
        // A fault in what was to be written does not pass.
        if (!late && ["22", "23", "42"].includes(code?.slice(0, 2) ?? "")) {
          if (batch.length > 1) return writeApart(worker, batch, again);
          log.error({ err: error, worker, job: batch[0]?.job }, "the ledger refused an attempt");
          // At least how it ended.
          if (!bare) {
            bare = true;
            records = records.map(withoutWords);
            continue;
          }
          for (const entry of ended) entry.ended?.settle.reject(error);
          return;
        }
        log.warn({ err: error, worker }, "the ledger could not be written, trying again");
        // Or it was, and only the answer was lost.
        again = true;
        overtaken ||= late;
        for (const record of records) record.again = true;
        await sleep(wait.next());
      }
    }
  }

  /** One that cannot be written must not keep the others from it. */
  async function writeApart(worker: string, batch: Entry[], again: boolean): Promise<void> {
    const half = Math.ceil(batch.length / 2);
    await write(worker, batch.slice(0, half), again);
    await write(worker, batch.slice(half), again);
  }

  return {
    begin(job) {
      const entry: Entry = {
        worker: job.locked_by ?? "",
        job: job.id,
        attempt: job.attempts,
        began: performance.now(),
        run: {
          tiendas: undefined,
          finish(end) {
            const settle = Promise.withResolvers<boolean>();
            entry.ended = { at: performance.now(), end: keepable(end), settle };
            young.delete(entry);
            enqueue(entry);
            return settle.promise;
          },
        },
      };
      young.add(entry);
      lookAfter(writtenAfterMs);
      return entry.run;
    },
  };
}

/** As nexus_engine.write_job_runs takes it: times in ms ago, because two machines have two clocks. */
function toRecord(
  { id, job, attempt, began, run, ended }: Entry,
  again: boolean,
): Record<string, unknown> {
  const now = performance.now();
  const { outcome, ...rest } = ended?.end ?? {};
  return {
    ...(again ? { again } : {}),
    ...(id ? { id } : { age: now - began, tiendas: run.tiendas }),
    job,
    attempt,
    ...(ended ? { outcome, ended: now - ended.at, ...rest } : {}),
  };
}

/** What a task returns is kept up to this length as JSON. */
const keptCounts = 8_192;

/** The end with counts that jsonb can hold. */
function keepable(end: End): End {
  if (!("counts" in end) || end.counts === undefined) return end;
  let counts: Record<string, unknown>;
  try {
    const text = JSON.stringify(end.counts, (_, value) => {
      if (typeof value === "bigint") return String(value);
      return typeof value === "string" ? value.toWellFormed().replaceAll("\0", "\\0") : value;
    });
    counts = text.length > keptCounts ? { characters: text.length } : JSON.parse(text);
  } catch {
    counts = { unreadable: true };
  }
  return { ...end, counts };
}

/** The same without what a task or an error has put into it. */
function withoutWords(record: Record<string, unknown>): Record<string, unknown> {
  const { tiendas: _, counts: __, ...rest } = record;
  const isFailure = "message" in record;
  return isFailure
    ? { ...rest, code: "LEDGER", message: "not fit for the ledger, see the log" }
    : rest;
}
