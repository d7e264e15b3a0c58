import { z } from "zod";
import { defineTask } from "../src/worker/define-task.ts";
import { refreshStores } from "../src/worker/refresh.ts";

/**
 * The batch: makes the insights of these stores equal to what the insight functions say, now.
 * Enqueued by the schedules, by the mutation refreshInsights, and by anyone from SQL.
 */
export default defineTask({
  payload: z.strictObject({
    /** tiendas.id; unknown and inactive stores are passed over and logged. */
    tiendas: z.array(z.guid()).min(1).max(1000),
    /** Types of nexus_engine.insight_type; all when absent. */
    tipos: z.array(z.string()).min(1).max(100).optional(),
    /** Also tell again what the owner dismissed. */
    force: z.boolean().optional(),
    /** The nexus_engine.refresh_request that this job serves. */
    request_id: z.guid().optional(),
  }),
  run: refreshStores,
});
