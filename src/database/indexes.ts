import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import type { Logger } from "../log.ts";
import { attachLocks } from "./attach.ts";
import { isAway } from "./away.ts";
import { isDetached } from "./migrate.ts";
import { ensurePosIndexes, saidOfLeft } from "./pos.ts";
import { type Background, inBackground, prepareAlone } from "./preparation-lock.ts";

/** From one look to the next, and how long an index may wait for older transactions. */
const usual = { everyMs: 600_000, lockMs: attachLocks.index };

/**
 * Looks every ten minutes whether our indexes are on the POS's tables, and builds again what is not: a
 * migration of the POS may have dropped them, as Alembic proposes of any index that it does not know, or
 * detach() before it. Not while detached. Ends where this login may not build them: what was missing at the
 * start the start has told, and only what goes missing later is told here.
 */
export function keepIndexes(
  ownerUrl: string,
  log: Logger,
  { everyMs, lockMs } = usual,
): Background {
  return inBackground(async (signal) => {
    for (let may = true, isFirst = true; may; isFirst = false) {
      await sleep(everyMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      try {
        const look = (client: Client) => lookOnce(client, ownerUrl, log, { lockMs, isFirst });
        may = (await prepareAlone(ownerUrl, "nexus-indexes", signal, look)) ?? true;
      } catch (err) {
        if (!signal.aborted && !isAway(err)) {
          log.warn({ err }, "could not look after the indexes, trying again later");
        }
      }
    }
  });
}

/** Does nothing while we are detached. Returns whether it is worth looking again. */
async function lookOnce(
  client: Client,
  ownerUrl: string,
  log: Logger,
  { lockMs, isFirst }: { lockMs: number; isFirst: boolean },
): Promise<boolean> {
  if (await isDetached(client)) return true;
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
