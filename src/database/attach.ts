import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import type { Logger } from "../log.ts";
import { backoff, lockNotAvailable, sqlState } from "./away.ts";
import { isDetached } from "./migrate.ts";
import { ensurePosIndexes, saidOfLeft, triggerTables } from "./pos.ts";
import { type Background, inBackground, prepareAlone } from "./preparation-lock.ts";
import { describeSession, sessionsOn } from "./sessions.ts";
import type { Say } from "./steps.ts";

/**
 * How long an attempt waits for a lock: of our triggers, of which those on the POS's tables are asked for
 * 25 ms at a time, and of an index, which makes nobody wait.
 */
export const attachLocks = { triggers: 1_000, index: 60_000 };
/** From one attempt in the background to the next. */
const pauses = { firstMs: 1_000, mostMs: 60_000 };

/**
 * Puts our triggers on the POS's tables and then our indexes, unless detach() was called: then that is left to
 * nexus_engine.attach(). Returns false when the POS was using its tables, which it never waits for us to
 * have: until a later attempt the engine works without them, and looks at every product instead.
 * Call it with the preparation lock, on a connection that may put triggers on the POS's tables.
 */
export async function attach(
  client: Client,
  ownerUrl: string,
  log: Logger,
  { triggers, index }: typeof attachLocks,
  { say: given, attachAgain = false }: How = {},
): Promise<boolean> {
  const say: Say = given ?? (() => {});
  const before = await triggersNow(client);
  const began = performance.now();
  await client.query("begin");
  try {
    await client.query("select set_config('lock_timeout', $1, true)", [String(triggers)]);
    // An operator's detach() that is under way is waited for, and one that comes now waits for us.
    await client.query("lock table nexus_engine.detached in share row exclusive mode");
    const rests = !attachAgain && (await isDetached(client));
    if (!rests) await client.query("select nexus_engine.attach()");
    await client.query("commit");
    if (rests) {
      say("triggers: none, detach() was called; npm run attach puts them on");
      log.warn(
        "detached from the POS's tables: the engine rests until nexus_engine.attach() is called",
      );
      return true;
    }
    const now = await triggersNow(client);
    const made = now.filter((trigger) => !before.includes(trigger)).length;
    const ms = Math.round(performance.now() - began);
    say(`triggers: ${now.length} there${made > 0 ? `, ${made} of them made in ${ms} ms` : ""}`);
  } catch (error) {
    await client.query("rollback");
    if (sqlState(error) !== lockNotAvailable) throw error;
    const inUseBy = await sessionsOn(client, triggerTables, { writing: true });
    say(
      `triggers: waiting for the POS's tables${inUseBy.length > 0 ? `, held by ${inUseBy.map(describeSession).join(", ")}` : ""}`,
    );
    log.warn(
      { inUseBy },
      "our triggers on the POS's tables have to wait, so that its sales need not",
    );
    return false;
  }
  await client.query("select set_config('lock_timeout', $1, false)", [String(index)]);
  const { built, left } = await ensurePosIndexes(client, ownerUrl, log);
  if (built.length > 0) say(`index: built ${built.join(", ")}`);
  if (left.length > 0) (given ?? ((line) => log.info(line)))(saidOfLeft(left));
  return true;
}

/** Our triggers, each as it was made. */
async function triggersNow(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ made: string }>(
    `select t.oid || ' ' || t.xmin as made from pg_catalog.pg_trigger t
     join pg_catalog.pg_class c on c.oid = t.tgrelid
     where c.relnamespace = 'public'::regnamespace and t.tgname like 'nexus\\_%' and not t.tgisinternal`,
  );
  return rows.map(({ made }) => made);
}

type How = { say?: Say; attachAgain?: boolean };
type KeepOptions = Partial<typeof pauses & typeof attachLocks> & How;

/** Goes on trying to attach, with growing pauses. */
export function keepAttaching(
  ownerUrl: string,
  log: Logger,
  { say, attachAgain, ...given }: KeepOptions = {},
): Background {
  const options = { ...pauses, ...attachLocks, ...given };
  const how = { ...(say && { say }), ...(attachAgain && { attachAgain }) };
  const wait = backoff(options.firstMs, options.mostMs);
  return inBackground(async (signal) => {
    for (;;) {
      await sleep(wait.next(), undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      try {
        // Where another process is about it, the next attempt finds that it is done.
        const isDone = await prepareAlone(ownerUrl, "nexus-attach", signal, (client) =>
          attach(client, ownerUrl, log, options, how),
        );
        if (!isDone) continue;
        log.info("nothing is left to be done on the POS's tables");
        return;
      } catch (err) {
        if (signal.aborted) return;
        say?.(`triggers: not made, trying again: ${err instanceof Error ? err.message : err}`);
        log.warn({ err }, "our triggers could not be made, trying again");
      }
    }
  });
}
