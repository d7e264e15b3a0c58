import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { defineTask } from "../../../src/worker/define-task.ts";

/** Writes its name into public.probe, and holds the transaction open for a while. */
export default defineTask({
  payload: z.strictObject({
    name: z.string(),
    /** How long a statement of the transaction runs. */
    sqlSeconds: z.number().default(0),
    /** How long the task sleeps outside of any transaction, before. */
    idleMs: z.number().default(0),
    tiendas: z.array(z.string()).optional(),
  }),
  run: async ({ payload, transaction, signal }) => {
    if (payload.idleMs) await sleep(payload.idleMs, undefined, { signal });
    return transaction(async (client) => {
      await client.query("insert into public.probe (name) values ($1)", [payload.name]);
      if (payload.sqlSeconds) await client.query("select pg_sleep($1)", [payload.sqlSeconds]);
      return { written: 1 };
    });
  },
});
