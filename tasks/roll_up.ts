import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { defineTask } from "../src/worker/define-task.ts";

/** So often it is asked whether the transactions of the horizon have ended; then what can be done is. */
const looks = { most: 10, everyMs: 200 };

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
    const holders = async () => {
      const { rows } = await transaction((client) =>
        client.query<{ pids: number[]; long: boolean }>(
          `select nexus_engine.horizon_holders() as pids,
             candidate_at < now() - interval '1 hour' as long from nexus_engine.rollup_horizon`,
        ),
      );
      return rows[0] ?? { pids: [], long: false };
    };
    let held = await holders();
    for (let n = 0; n < looks.most && held.pids.length > 0; n += 1) {
      await sleep(looks.everyMs, undefined, { signal });
      held = await holders();
    }
    if (held.pids.length > 0 && held.long) {
      log.warn({ pids: held.pids }, "transactions open for over an hour hold up the roll-ups");
    }
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
    if (failed.length > 0) {
      log.error({ failed }, "stores could not be rolled up, see nexus_engine.store_failure");
    }
    return { stores, changed, failed: failed.length };
  },
});
