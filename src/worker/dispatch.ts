import { z } from "zod";
import { defineTask, type TaskDefinition } from "./define-task.ts";

/** What a scheduled task accepts: nothing, besides what Graphile Worker's cron adds. */
const ScheduledPayload = z.strictObject({
  _cron: z.object({ ts: z.string(), backfilled: z.boolean().optional() }).optional(),
});

/**
 * A scheduled task: enqueues refresh_stores for the stores that are due for these types (null: all
 * types), in one transaction. See nexus_engine.dispatch.
 */
export function defineDispatcher(name: string, tipos: string[] | null): TaskDefinition {
  return defineTask({
    payload: ScheduledPayload,
    run: ({ transaction, settings }) =>
      transaction(async (client) => {
        const { rows } = await client.query<{ jobs: number; stores: number }>(
          "select * from nexus_engine.dispatch($1, $2, now(), $3)",
          [name, tipos, settings.storesPerJob],
        );
        return rows[0];
      }),
  }) as TaskDefinition;
}
