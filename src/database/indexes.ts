import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import type { Logger } from "../log.ts";
import { attach, attachLocks } from "./attach.ts";
import { isAway } from "./away.ts";
import { isDetached } from "./migrate.ts";
import { ensurePosIndexes, saidOfLeft } from "./pos.ts";
import { type Background, inBackground, prepareAlone } from "./preparation-lock.ts";

/** From one look to the next, and how long an index may wait for older transactions. */
const usual = { everyMs: 60_000, lockMs: attachLocks.index };

/**
 * Looks every minute whether our triggers and indexes are on the POS's tables, and makes again what is not: a
 * migration of the POS may have dropped an index, as Alembic proposes of any that it does not know, and somebody a
 * trigger by hand. Not while detached. Of indexes not any more once this login may not build them: what was
 * missing at the start the start has told, and only what goes missing later is told here.
 */
export function keepIndexes(
  ownerUrl: string,
  log: Logger,
  { everyMs, lockMs } = usual,
): Background {
  return inBackground(async (signal) => {
    for (let mayIndex = true, isFirst = true; ; isFirst = false) {
      await sleep(everyMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      try {
        const look = (client: Client) =>
          lookOnce(client, ownerUrl, log, { lockMs, mayIndex, isFirst });
        mayIndex = (await prepareAlone(ownerUrl, "nexus-indexes", signal, look)) ?? mayIndex;
      } catch (err) {
        if (!signal.aborted && !isAway(err)) {
          log.warn({ err }, "could not look after triggers and indexes, trying again later");
        }
      }
    }
  });
}

/** Does nothing while we are detached. Returns whether it is worth looking for indexes again. */
async function lookOnce(
  client: Client,
  ownerUrl: string,
  log: Logger,
  { lockMs, mayIndex, isFirst }: { lockMs: number; mayIndex: boolean; isFirst: boolean },
): Promise<boolean> {
  if (await isDetached(client)) return mayIndex;
  const { rows } = await client.query("select nexus_engine.triggers_warning() as warning");
  if (rows[0]?.warning) {
    log.warn(`${rows[0].warning}; putting them back now`);
    await attach(client, ownerUrl, log, attachLocks);
  }
  if (!mayIndex) return false;
  await client.query("select set_config('lock_timeout', $1, false)", [String(lockMs)]);
  const { built, left } = await ensurePosIndexes(client, ownerUrl, log);
  if (built.length > 0) {
    log.warn(
      { indexes: built },
      "indexes of ours were gone from the POS's tables, and are built again: a migration of the POS may have dropped them",
    );
  }
  if (left.length > 0 && !isFirst) log.warn(saidOfLeft(left));
  return left.length === 0;
}
