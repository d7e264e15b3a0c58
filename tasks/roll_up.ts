import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { defineTask, type TaskContext } from "../src/worker/define-task.ts";

/** So often it is asked whether the transactions of the horizon have ended; then what can be done is. */
const looks = { most: 10, everyMs: 200 };

/**
 * Every 5 minutes: rolls up the days that have closed and those that were marked, store by batch of
 * stores, each in a transaction of its own. Several workers share the stores between them. A store
 * that fails is passed over until the next time.
 */
export default defineTask({
  payload: z.strictObject({ _cron: z.unknown().optional() }),
  run: async ({ transaction, settings, log, signal }) => {
    await moveHorizon({ transaction, log, signal });
    const failed: string[] = [];
    let stores = 0;
    let changed = 0;
    for (;;) {
      signal.throwIfAborted();
      const batch = await transaction(async (client) => {
        const { rows } = await client.query<{ stores: number; changed: number; failed: string[] }>(
          "select * from nexus_engine.roll_up_batch($1, $2)",
          [settings.storesPerJob, failed],
        );
        return rows[0];
      });
      if (!batch?.stores) break;
      stores += batch.stores;
      changed += batch.changed;
      failed.push(...batch.failed);
    }
    if (failed.length > 0) {
      log.error({ failed }, "stores could not be rolled up, see nexus_engine.store_failure");
    }
    return { stores, changed, failed: failed.length };
  },
});

type Horizon = { holders: number[]; isOld: boolean };

/** Notes the horizon, and waits a moment for the transactions that are open now, so that it can be proved. */
async function moveHorizon({
  transaction,
  log,
  signal,
}: Pick<TaskContext<unknown>, "transaction" | "log" | "signal">): Promise<void> {
  // In a transaction of its own: the next one may find it proved already.
  await transaction((client) => client.query("select nexus_engine.note_horizon()"));
  for (let n = 0; ; n += 1) {
    const { rows } = await transaction((client) =>
      client.query<Horizon>(
        `select nexus_engine.horizon_holders() as holders,
           candidate_at < now() - interval '1 hour' as "isOld" from nexus_engine.rollup_horizon`,
      ),
    );
    const [horizon] = rows;
    if (!horizon?.holders.length) return;
    if (n === looks.most) {
      if (horizon.isOld) {
        const pids = horizon.holders;
        log.warn({ pids }, "transactions open for over an hour hold up the roll-ups");
      }
      return;
    }
    await sleep(looks.everyMs, undefined, { signal });
  }
}
