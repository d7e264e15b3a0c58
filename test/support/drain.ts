import type { ClientBase, Pool } from "pg";

/**
 * Empties the outbox of stock crossings as the worker does, `share` events of a store in a
 * transaction. What somebody else has locked stays. Returns how many there were.
 */
export async function drainOutbox(
  worker: Pool | ClientBase,
  share = 250,
  at = new Date(),
): Promise<number> {
  let drained = 0;
  let events: number;
  do {
    events = 0;
    for (const backlog of [false, true]) {
      const { rows } = await worker.query<{ events: number }>(
        "select events from nexus_engine.drain_outbox($1, $2, $3, $4)",
        [share, 2 * share, backlog, at],
      );
      events += rows[0]?.events ?? 0;
    }
    drained += events;
  } while (events > 0);
  return drained;
}
