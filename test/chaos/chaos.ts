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
  const server = await OwnServer.start();
  let workers: Workers | undefined;
  try {
    await prepareDatabase(server.url, createLog("silent"), { createPos: true });
    await asOwner(server.url, async (client) => {
      const fleet = await readFile(join(import.meta.dirname, "fleet.sql"), "utf8");
      await client.query(fleet, [stores, seconds - 25]);
    });
    workers = new Workers(server.url, options.workers, options.log);
    await sleep(4_000);
    const traffic = startTraffic(server.url);
    const havoc = startHavoc(server, workers, rates);
    await sleep(seconds * 1000);
    await havoc.stop();
    await traffic.stop();
    // The last business day ended 25 seconds ago, and is completed 30 after its end.
    await sleep(10_000);
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
