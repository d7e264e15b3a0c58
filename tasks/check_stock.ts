import { z } from "zod";
import { defineTask } from "../src/worker/define-task.ts";

/**
 * Nightly: compares stock_watch with productos, store by batch of stores, and repairs differences,
 * which triggers that were off or by-passed leave behind. The hourly refresh then tells of them.
 * Also makes the triggers anew when the highest threshold in use is another, and finds what happened
 * before they were there: until it is through, each pass looks at every product. Notes which insights are of
 * which product, where nobody has.
 */
export default defineTask({
  payload: z.strictObject({ _cron: z.unknown().optional() }),
  run: async ({ transaction, settings, log, signal }) => {
    const { ceiling, relied_on } = await transaction(async (client) => {
      await client.query("set local lock_timeout = '2s'");
      const { rows } = await client.query<Ceilings>(
        `select nexus_engine.renew_triggers() as ceiling,
           (select c.ceiling from nexus_engine.stock_ceiling c) as relied_on`,
      );
      return rows[0] ?? { ceiling: null, relied_on: null };
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
    if (ceiling !== null) {
      await transaction((client) =>
        client.query("select nexus_engine.rely_on_triggers($1)", [ceiling]),
      );
    }
    await transaction((client) => client.query("select nexus_engine.note_product_insights()"));
    if (repaired > 0 && ceiling === relied_on) {
      log.warn({ repaired }, "products were low or out without our knowing");
    }
    return { stores, repaired };
  },
});

/** That of the triggers, null while detached; and the one before, which the outbox was true for. */
type Ceilings = { ceiling: number | null; relied_on: number | null };
type Batch = { last_store: string | null; stores: number; repaired: number };
