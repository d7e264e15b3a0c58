import { z } from "zod";
import { defineTask } from "../src/worker/define-task.ts";

/** Every day is compared once in so many nights, besides the last eight, which always are. */
const nightsForAll = 90;

/**
 * Nightly: compares a part of the rollups with the tickets, store by batch of stores, and repairs
 * differences, which triggers that were by-passed leave behind. `npm run rebuild-rollups` does all.
 */
export default defineTask({
  payload: z.strictObject({ _cron: z.unknown().optional() }),
  run: async ({ transaction, settings, log, signal }) => {
    let after: string | null = null;
    let stores = 0;
    let repaired = 0;
    const failed: string[] = [];
    for (;;) {
      signal.throwIfAborted();
      const batch: Batch | undefined = await transaction(async (client) => {
        const { rows } = await client.query<Batch>(
          "select * from nexus_engine.compare_rollups_batch($1, $2, $3, now())",
          [after, settings.storesPerJob, nightsForAll],
        );
        return rows[0];
      });
      if (!batch?.last_store) break;
      after = batch.last_store;
      stores += batch.stores;
      repaired += batch.repaired;
      failed.push(...batch.failed);
    }
    if (failed.length > 0) {
      log.error({ failed }, "stores could not be compared, see nexus_engine.store_failure");
    }
    if (repaired > 0) log.warn({ repaired }, "rollups were not what the tickets say");
    return { stores, repaired, failed: failed.length };
  },
});

type Batch = { last_store: string | null; stores: number; repaired: number; failed: string[] };
