import { z } from "zod";
import { defineTask } from "../src/worker/define-task.ts";

/**
 * Every minute: has the stores looked at that have a threshold above what the triggers see. See
 * nexus_engine.dispatch_unseen.
 */
export default defineTask({
  payload: z.strictObject({ _cron: z.unknown().optional() }),
  run: ({ transaction, settings }) =>
    transaction(async (client) => {
      const { rows } = await client.query<{ jobs: number; stores: number }>(
        "select * from nexus_engine.dispatch_unseen($1)",
        [settings.storesPerJob],
      );
      return rows[0];
    }),
});
