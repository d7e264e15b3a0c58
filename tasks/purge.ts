import { z } from "zod";
import { defineTask } from "../src/worker/define-task.ts";

/** Nightly: deletes what is past its retention, in transactions of at most 5,000 rows a kind. */
export default defineTask({
  payload: z.strictObject({ _cron: z.unknown().optional() }),
  run: async ({ transaction, settings, signal }) => {
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
    return {
      deleted: await untilNone(
        "select nexus_engine.purge(now(), make_interval(days => $1), 5000) as deleted",
        [settings.insightRetentionDays],
      ),
      jobs: await untilNone(
        "select nexus_engine.purge_jobs(now(), make_interval(days => $1), $2, 5000) as deleted",
        [settings.jobRunRetentionDays, settings.jobRunsKept],
      ),
    };
  },
});
