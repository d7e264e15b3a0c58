import type { Job } from "graphile-worker";
import type { ClientBase, Pool } from "pg";
import { onLoan } from "../database/pools.ts";
import { TimeLimitError } from "./failure.ts";

/** At the time limit Postgres cancels the statement that runs; who goes on all the same is cut off. */
const graceMs = 500;

export type Limits = {
  signal: AbortSignal;
  /** When the job's time is over, as of performance.now(). */
  deadline: number;
  /** How long a transaction may last that begins after the signal was aborted. */
  farewellMs: number;
};

/**
 * Runs `work` in one transaction that is the job's: refused when the job was taken away from this
 * worker (NX005), cut off when the signal is aborted.
 */
export async function inTransaction<T>(
  pool: Pool,
  job: Pick<Job, "id" | "locked_by">,
  { signal, deadline, farewellMs }: Limits,
  work: (client: ClientBase) => Promise<T>,
): Promise<T> {
  const farewell = signal.aborted;
  const remainingMs = farewell ? farewellMs : Math.max(1, Math.ceil(deadline - performance.now()));
  const client = await pool.connect();
  // While it waited for the connection.
  if (signal.aborted && !farewell) {
    client.release();
    throw signal.reason;
  }
  const loan = onLoan(client);
  let timer: NodeJS.Timeout | undefined;
  // Closed in the middle of a statement: Postgres notices at once and rolls back, see begin_work.
  const cutOff = () => loan.release(true);
  const onAbort = () => {
    if (signal.reason instanceof TimeLimitError) timer = setTimeout(cutOff, graceMs);
    else cutOff();
  };
  if (farewell) timer = setTimeout(cutOff, farewellMs + graceMs);
  else signal.addEventListener("abort", onAbort, { once: true });
  let broken = false;
  try {
    await client.query("begin");
    await client.query("select nexus_engine.begin_work($1, $2, $3)", [
      job.locked_by,
      job.id,
      remainingMs,
    ]);
    const result = await work(client);
    await client.query("commit");
    return result;
  } catch (error) {
    if (loan.ended) throw signal.aborted ? signal.reason : error;
    await client.query("rollback").catch(() => {
      broken = true;
    });
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    loan.release(broken);
  }
}
