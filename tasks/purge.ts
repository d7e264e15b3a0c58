import { z } from "zod";
import { defineTask } from "../src/worker/define-task.ts";

/**
 * Nightly: deletes what is past its retention, and what is kept about stores that are proved to be gone, in
 * transactions of at most 5,000 rows a kind.
 */
export default defineTask({
  payload: z.strictObject({ _cron: z.unknown().optional() }),
  run: async ({ transaction, settings, log, signal }) => {
    const untilNone = async (text: string, values: unknown[]) => {
      for (let deleted = 0; ; ) {
        signal.throwIfAborted();
        const { rows } = await transaction((client) =>
          client.query<{ deleted: number }>(text, values),
        );
        if (!rows[0]?.deleted) return deleted;
        deleted += rows[0].deleted;
      }
    };
    const deleted = await untilNone(
      "select nexus_engine.purge(now(), make_interval(days => $1), 5000) as deleted",
      [settings.insightRetentionDays],
    );
    const { rows } = await transaction((client) => client.query<Missing>(missing));
    const { warning, ...stores } = rows[0] ?? { warning: null };
    if (warning) log.warn(stores, warning);
    return {
      deleted,
      ...stores,
      jobs: await untilNone(
        "select nexus_engine.purge_jobs(now(), make_interval(days => $1), $2, 5000) as deleted",
        [settings.jobRunRetentionDays, settings.jobRunsKept],
      ),
    };
  },
});

type Missing = { missingStores: number; givenUp: number; warning: string | null };

/** What purge has found: stores that the POS's tables lack, and of how many the data are being deleted. */
const missing = `
  select count(*)::int as "missingStores", count(given_up_at)::int as "givenUp",
    nexus_engine.missing_stores_warning() as warning
  from nexus_engine.missing_store`;
