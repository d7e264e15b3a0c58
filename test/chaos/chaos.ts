import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "../../src/database/client.ts";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";
import { OwnServer } from "../outage/own_server.ts";
import { type Rates, startHavoc } from "./havoc.ts";
import { startTraffic } from "./traffic.ts";
import { judge, settle, tally, type Verdict } from "./verdict.ts";
import { Workers } from "./workers.ts";

export type Chaos = {
  havoc: Record<string, number>;
  traffic: Record<string, number>;
  tally: Record<string, number>;
  verdict: Verdict;
  /** Of the workers, when told to stop in the end, and of those that ended by themselves before. */
  exits: number[];
  unprompted: (number | null)[];
};

export type ChaosOptions = {
  seconds: number;
  stores: number;
  workers: number;
  rates: Rates;
  log?: string;
};

/**
 * A fleet of stores that sell, whose business days end one after the other, while workers and
 * Postgres are killed and frozen; then rest, and the count of what is not as it should be.
 */
export async function runChaos(options: ChaosOptions): Promise<Chaos> {
  const { seconds, stores, rates } = options;
  const lastDayEnds = seconds - 12;
  const server = await OwnServer.start();
  let workers: Workers | undefined;
  try {
    await prepareDatabase(server.url, createLog("silent"), { createPos: true });
    workers = new Workers(server.url, options.workers, options.log);
    const opened = await asOwner(server.url, async (client) => {
      const atWork = "select from nexus_engine.worker_pool";
      while (((await client.query(atWork)).rowCount ?? 0) < options.workers) await sleep(100);
      const fleet = await readFile(join(import.meta.dirname, "fleet.sql"), "utf8");
      await client.query(fleet, [stores, lastDayEnds]);
      return Date.now();
    });
    const traffic = startTraffic(server.url);
    const havoc = startHavoc(server, workers, rates);
    await sleep(seconds * 1000);
    await havoc.stop();
    await traffic.stop();
    // The last business day is completed 30 seconds after its end.
    await sleep(Math.max(0, opened + (lastDayEnds + 32) * 1000 - Date.now()));
    const told = await asOwner(server.url, async (client) => {
      await settle(client, 60_000);
      return { tally: await tally(client), verdict: await judge(client) };
    });
    const exits = await workers.stop();
    return {
      havoc: havoc.counts,
      traffic: traffic.counts,
      ...told,
      exits,
      unprompted: workers.exits,
    };
  } finally {
    workers?.kill();
    await server.destroy();
  }
}

async function asOwner<T>(
  url: string,
  act: (client: Awaited<ReturnType<typeof connect>>) => Promise<T>,
): Promise<T> {
  const client = await connect(url, "chaos");
  try {
    return await act(client);
  } finally {
    await client.end();
  }
}
