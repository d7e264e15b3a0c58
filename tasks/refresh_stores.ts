import { z } from "zod";
import { defineTask } from "../src/worker/define-task.ts";
import { refreshStores } from "../src/worker/refresh.ts";

/**
 * The batch: makes the insights of these stores equal to what the insight functions say, now.
 * Enqueued by the schedules, by the mutation refreshInsights, and by anyone from SQL.
 */
export default defineTask({
  payload: z.strictObject({
    /**
     * tiendas.id; unknown and inactive stores are passed over and logged. A batch is one transaction:
     * more than 1,000 stores are refused, not split, see nexus_engine.batches.
     */
    tiendas: z.array(z.guid("expected a uuid")).min(1).max(1000).transform(withoutRepeats),
    /** Types of nexus_engine.insight_type; all when absent. */
    tipos: z
      .array(z.string().regex(/^[A-Z][A-Z0-9_]{0,62}$/, "expected a type such as STOCK_BAJO"))
      .min(1)
      .max(100)
      .optional(),
    /** Also tell again what the owner dismissed. */
    force: z.boolean().optional(),
    /** The nexus_engine.refresh_request that this job serves. */
    request_id: z.guid("expected a uuid").optional(),
  }),
  run: refreshStores,
});

function withoutRepeats(ids: string[]): string[] {
  return [...new Set(ids.map((id) => id.toLowerCase()))];
}
