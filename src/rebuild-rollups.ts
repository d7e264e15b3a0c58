import { readArguments } from "./cli/arguments.ts";
import { readConfig } from "./config.ts";
import { openDatabase } from "./database/open.ts";
import { createPool } from "./database/pools.ts";
import type { Logger } from "./log.ts";
import { createLog } from "./log.ts";
import { exitWithErrorOf, UsageError } from "./process.ts";

/** How many differences are shown, besides their number. */
const shownAtMost = 10;

export type Difference = {
  rollup: string;
  tienda_id: string;
  day: string;
  was: unknown;
  now: unknown;
};

export type Rebuild = { stores: number; differences: number; first: Difference[] };

/**
 * Compares every rollup of every store with the tickets, each store in a transaction of its own, and
 * repairs them. Changes that are known and wait to be rolled up are no differences.
 * Throws UsageError when rollups are not kept now: without our triggers.
 */
export async function rebuildRollups(connectionString: string, log: Logger): Promise<Rebuild> {
  const pool = createPool({
    connectionString,
    log,
    max: 1,
    name: "nexus-rebuild",
    role: "nexus_worker",
  });
  try {
    const { rows: attached } = await pool.query<{ attached: boolean }>(
      "select nexus_engine.attached()",
    );
    if (!attached[0]?.attached) {
      throw new UsageError(
        "Without our triggers on the POS's tables no rollups are kept or read: after a nexus_engine.detach() call nexus_engine.attach(), otherwise wait until the engine has put them on, see its log.",
      );
    }
    await pool.query("select nexus_engine.note_horizon()");
    const { rows: stores } = await pool.query<{ id: string }>(
      "select id from public.tiendas order by id",
    );
    const rebuild: Rebuild = { stores: stores.length, differences: 0, first: [] };
    for (const { id } of stores) {
      const { rows } = await pool.query<Difference>(
        "select rollup, tienda_id, day::text, was, now from nexus_engine.rebuild_rollups($1)",
        [id],
      );
      rebuild.differences += rows.length;
      rebuild.first.push(...rows.slice(0, shownAtMost - rebuild.first.length));
    }
    return rebuild;
  } finally {
    await pool.end();
  }
}

const usage = `npm run rebuild-rollups

Compares the rollups of every store with its tickets, and repairs what differs, each store in a transaction of its
own. Prints how many rows differed, and the first ${shownAtMost}.

  --help  this text

Exit code: 0 nothing differed; 1 something differed and is repaired, or it failed and says why.
`;

async function main(): Promise<void> {
  readArguments(usage, {});
  const log = createLog("warn");
  const database = await openDatabase(readConfig(), log);
  try {
    const { stores, differences, first } = await rebuildRollups(database.ownerUrl, log);
    console.log(`${stores} stores compared, ${differences} rows of rollups differed`);
    for (const { rollup, was, now } of first) {
      console.log(`  ${rollup}: ${JSON.stringify(was)} is now ${JSON.stringify(now)}`);
    }
    if (differences > first.length) console.log(`  and ${differences - first.length} more`);
    if (differences > 0) process.exitCode = 1;
  } finally {
    await database.close();
  }
}

if (import.meta.main) await main().catch(exitWithErrorOf("npm run rebuild-rollups"));
