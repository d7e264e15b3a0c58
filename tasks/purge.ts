import { z } from "zod";
import { defineTask } from "../src/worker/define-task.ts";

/** Nightly: deletes what is past its retention, in transactions of at most 5,000 rows a kind. */
export default defineTask({
  payload: z.strictObject({ _cron: z.unknown().optional() }),
  run: async ({ transaction, settings, signal }) => {
    let deleted = 0;
    for (;;) {
      signal.throwIfAborted();
      const count = await transaction(async (client) => {
        const { rows } = await client.query<{ purge: number }>(
          "select nexus_engine.purge($1, make_interval(days => $2), 5000)",
          [new Date(), settings.insightRetentionDays],
        );
        return rows[0]?.purge ?? 0;
      });
      if (count === 0) return { deleted };
      deleted += count;
    }
  },
});
