import { z } from "zod";
import { defineTask } from "../src/worker/define-task.ts";

/**
 * Nightly: compares stock_watch with productos, store by batch of stores, and repairs differences,
 * which triggers that were off or by-passed leave behind. The hourly refresh then tells of them.
 * Also half an hour after the products were truncated. After attach() it finds what happened before the
 * triggers were there: until it is through, each pass looks at every product. Notes which insights are of
 * which product, where nobody has.
 */
export default defineTask({
  payload: z.strictObject({ _cron: z.unknown().optional() }),
  run: async ({ transaction, settings, log, signal }) => {
    const { attached, followed } = await transaction(async (client) => {
      const { rows } = await client.query<{ attached: boolean; followed: boolean }>(
        "select nexus_engine.attached() as attached, nexus_engine.triggers_are_followed() as followed",
      );
      return rows[0] ?? { attached: false, followed: false };
    });
    let after: string | null = null;
    let stores = 0;
    let repaired = 0;
    for (;;) {
      signal.throwIfAborted();
      const batch: Batch | undefined = await transaction(async (client) => {
        const { rows } = await client.query<Batch>(
          "select * from nexus_engine.check_stock_batch($1, $2, now())",
          [after, settings.storesPerJob],
        );
        return rows[0];
      });
      if (!batch?.last_store) break;
      after = batch.last_store;
      stores += batch.stores;
      repaired += batch.repaired;
    }
    if (attached && !followed) {
      await transaction((client) => client.query("select nexus_engine.follow_triggers()"));
    }
    await transaction((client) => client.query("select nexus_engine.note_product_insights()"));
    if (repaired > 0 && followed) {
      log.warn({ repaired }, "products were low or out without our knowing");
    }
    return { stores, repaired };
  },
});

type Batch = { last_store: string | null; stores: number; repaired: number };
