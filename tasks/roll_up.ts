import { z } from "zod";
import { defineTask } from "../src/worker/define-task.ts";

/**
 * Every 5 minutes: rolls up the days that have closed and those that were marked, store by batch of
 * stores, each in a transaction of its own. Several workers share the stores between them. A store
 * that fails is passed over until the next time.
 */
export default defineTask({
  payload: z.strictObject({ _cron: z.unknown().optional() }),
  run: async ({ transaction, settings, log, signal }) => {
    // In a transaction of its own: the next one may find it proved already.
    await transaction((client) => client.query("select nexus_engine.note_horizon()"));
    const failed: string[] = [];
    let stores = 0;
    let changed = 0;
    for (;;) {
      signal.throwIfAborted();
      const batch = await transaction(async (client) => {
        const { rows } = await client.query<{ stores: number; changed: number; failed: string[] }>(
          "select * from nexus_engine.roll_up_batch($1, $2)",
          [settings.storesPerJob, failed],
        );
        return rows[0];
      });
      if (!batch?.stores) break;
      stores += batch.stores;
      changed += batch.changed;
      failed.push(...batch.failed);
    }
    const { rows } = await transaction((client) =>
      client.query<{ pids: number[] }>(
        `select nexus_engine.horizon_holders() as pids from nexus_engine.rollup_horizon
         where candidate_at < now() - interval '1 hour'`,
      ),
    );
    if (rows[0] && rows[0].pids.length > 0) {
      log.warn({ pids: rows[0].pids }, "transactions open for over an hour hold up the roll-ups");
    }
    if (failed.length > 0) {
      log.error({ failed }, "stores could not be rolled up, see nexus_engine.store_failure");
    }
    return { stores, changed, failed: failed.length };
  },
});
