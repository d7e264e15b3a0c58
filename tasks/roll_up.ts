import { z } from "zod";
import { defineTask } from "../src/worker/define-task.ts";

/**
 * Every 5 minutes: rolls up the days that have closed and those that were marked, store by batch of
 * stores, each in a transaction of its own. Several workers share the stores between them.
 */
export default defineTask({
  payload: z.strictObject({ _cron: z.unknown().optional() }),
  run: async ({ transaction, settings, signal }) => {
    // In a transaction of its own: the next one may find it proved already.
    await transaction((client) => client.query("select nexus_engine.note_horizon()"));
    let stores = 0;
    let changed = 0;
    for (;;) {
      signal.throwIfAborted();
      const batch = await transaction(async (client) => {
        const { rows } = await client.query<{ stores: number; changed: number }>(
          "select * from nexus_engine.roll_up($1)",
          [settings.storesPerJob],
        );
        return rows[0];
      });
      if (!batch?.stores) return { stores, changed };
      stores += batch.stores;
      changed += batch.changed;
    }
  },
});
