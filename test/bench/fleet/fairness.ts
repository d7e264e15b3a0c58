import { setTimeout as sleep } from "node:timers/promises";
import { Client, Pool } from "pg";
import { ask, listen } from "./asking.ts";
import { addTask, empty, untilIdle } from "./fleet.ts";
import { forget, makeHugeStore, refreshAlone } from "./huge-store.ts";

/** How many stores ask, and how long after each other: all are to ask while the fleet is busy. */
const asking = 20;
const pauseMs = 100;

export type Fairness = {
  name: string;
  /** From the call of request_refresh to the announcement that the refresh has ended. */
  latencies: number[];
  /** How many of them were asked for while what disturbs them was not over. */
  during: number;
  /** Jobs of others meanwhile. */
  others: number;
  /** How long the longest of these took; of the huge store, one that had nothing to wait for. */
  longestMs: number;
};

/** The refreshes that twenty stores ask for, on an idle fleet and beside others' work. */
export async function benchFairness(url: string, owner: Client): Promise<Fairness[]> {
  const greedy = new Client({ connectionString: url });
  await greedy.connect();
  try {
    const { rows } = await owner.query<{ id: string }>(
      "select id from public.tiendas order by random()",
    );
    const ids = rows.map(({ id }) => id);
    const [insatiable = "", ...others] = ids;
    const measure = async (name: string, disturb: () => Promise<unknown>) =>
      measureWhile(url, owner, name, others.slice(0, asking), disturb);
    await untilIdle(owner);
    const results = [await measure("nothing else to do", async () => {})];

    await empty(owner);
    await addTask(owner, "generate_all_insights");
    await untilDispatched(owner);
    results.push(await measure("the hourly dispatch, from empty", () => untilIdle(greedy)));

    await untilIdle(owner);
    results.push(
      await measure("one store asks 1,000 times", async () => {
        for (let n = 0; n < 1000; n += 1) {
          await greedy.query("select nexus_engine.request_refresh($1)", [insatiable]);
        }
      }),
    );

    await untilIdle(owner);
    results.push(
      await measure("1,000 jobs of one store", async () => {
        await greedy.query(
          `select graphile_worker.add_job('refresh_stores', json_build_object('tiendas', array[$1::text]))
           from generate_series(1, 1000)`,
          [insatiable],
        );
        await untilIdle(greedy);
      }),
    );

    const huge = await makeHugeStore(owner, 200_000);
    const alone = await refreshAlone(owner, huge);
    await forget(owner, huge);
    const besideHuge = await measure("a store of 200,000 products asks 50 times", async () => {
      for (let n = 0; n < 50; n += 1) {
        await greedy.query("select nexus_engine.request_refresh($1)", [huge]);
        await sleep(pauseMs / 2);
      }
    });
    // Its refreshes wait for each other, which the ledger counts as theirs.
    results.push({ ...besideHuge, longestMs: alone });
    await untilIdle(owner);
    return results;
  } finally {
    await greedy.end();
  }
}

async function measureWhile(
  url: string,
  owner: Client,
  name: string,
  stores: string[],
  disturb: () => Promise<unknown>,
): Promise<Fairness> {
  const askers = new Pool({ connectionString: url, max: stores.length });
  const { rows: last } = await owner.query<{ id: string }>(
    "select coalesce(max(id), 0) as id from nexus_engine.job_run",
  );
  let disturbing = true;
  const disturbed = disturb().finally(() => {
    disturbing = false;
  });
  // Whatever fails is thrown when it is waited for.
  disturbed.catch(() => {});
  let during = 0;
  const latencies: Promise<number>[] = [];
  const listener = await listen(url, stores);
  try {
    for (const store of stores) {
      if (disturbing) during += 1;
      const latency = ask(askers, listener, store);
      latency.catch(() => {});
      latencies.push(latency);
      await sleep(pauseMs);
    }
    const took = await Promise.all(latencies);
    await disturbed;
    await untilIdle(owner);
    const { rows } = await owner.query<{ others: number; longest: number }>(
      `select count(*)::int as others,
         coalesce(max(extract(epoch from finished_at - started_at)), 0)::float8 * 1000 as longest
       from nexus_engine.job_run
       where id > $1 and task = 'refresh_stores' and not (cardinality(tiendas) = 1 and tiendas <@ $2)`,
      [last[0]?.id, stores],
    );
    return {
      name,
      latencies: took,
      during,
      others: rows[0]?.others ?? 0,
      longestMs: rows[0]?.longest ?? Number.NaN,
    };
  } finally {
    await listener.client.end();
    await askers.end();
  }
}

/** Until the dispatcher has enqueued its batches. */
async function untilDispatched(owner: Client): Promise<void> {
  for (;;) {
    const { rowCount } = await owner.query(
      "select from graphile_worker.jobs where task_identifier = 'refresh_stores' limit 1",
    );
    if (rowCount) return;
    await sleep(5);
  }
}
