import { setTimeout as sleep } from "node:timers/promises";
import { Client, Pool } from "pg";
import { addTask, empty, untilIdle } from "./fleet.ts";

/** How many stores ask, and how long after each other: all are to ask while the fleet is busy. */
const asking = 20;
const pauseMs = 100;
const hugeProducts = 200_000;

export type Fairness = {
  name: string;
  /** From the call of request_refresh to the announcement that the refresh has ended. */
  latencies: number[];
  /** How many of them were asked for while what disturbs them was not over. */
  during: number;
  /** Of the jobs of others meanwhile: how many, and how long the longest took. */
  others: number;
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

    const huge = await makeHugeStore(owner);
    await untilIdle(owner);
    await forget(owner, huge);
    results.push(
      await measure("a store of 200,000 products asks 50 times", async () => {
        for (let n = 0; n < 50; n += 1) {
          await greedy.query("select nexus_engine.request_refresh($1)", [huge]);
          await sleep(pauseMs / 2);
        }
      }),
    );
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
  let during = 0;
  const latencies: Promise<number>[] = [];
  const listener = await listen(url, stores);
  try {
    for (const store of stores) {
      if (disturbing) during += 1;
      latencies.push(ask(askers, listener, store));
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

type Listener = { client: Client; ended: Map<string, () => void> };

/** Hears of the refreshes of these stores. */
async function listen(url: string, stores: string[]): Promise<Listener> {
  const client = new Client({ connectionString: url });
  await client.connect();
  const ended = new Map<string, () => void>();
  const begun = new Set<string>();
  client.on("notification", ({ channel, payload }) => {
    if (!payload?.includes('"request"')) return;
    // A request tells twice what becomes of it: when it is taken up, and when it has ended.
    if (begun.has(channel)) ended.get(channel)?.();
    begun.add(channel);
  });
  await client.query(stores.map((id) => `listen "nexus_store:${id}"`).join(";"));
  return { client, ended };
}

/** Milliseconds until a refresh of the store that is asked for now has ended well. */
async function ask(askers: Pool, { ended }: Listener, store: string): Promise<number> {
  const end = Promise.withResolvers<void>();
  ended.set(`nexus_store:${store}`, end.resolve);
  const since = performance.now();
  const { rows } = await askers.query<{ id: string }>(
    "select id from nexus_engine.request_refresh($1)",
    [store],
  );
  await end.promise;
  const took = performance.now() - since;
  const { rows: requests } = await askers.query<{ status: string }>(
    "select status from nexus_engine.refresh_request where id = $1",
    [rows[0]?.id],
  );
  if (requests[0]?.status !== "succeeded") {
    throw new Error(`expected a refresh that succeeded, got ${JSON.stringify(requests[0])}`);
  }
  return took;
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

/** 5 % of its products are low or out. */
async function makeHugeStore(owner: Client): Promise<string> {
  const { rows } = await owner.query<{ id: string }>(
    `with tienda as (
       insert into public.tiendas (id, nombre, rubro, is_active)
       values (gen_random_uuid(), 'Mayorista', 'almacen', true) returning id
     ),
     producto as (
       insert into public.productos
         (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
       select gen_random_uuid(), 'Producto ' || n, 'MAY-' || n, 100, 60,
         case when n % 20 = 0 then n / 20 % 10 else 100 end, 'general', true, tienda.id
       from tienda, generate_series(1, $1) n
     )
     select id from tienda`,
    [hugeProducts],
  );
  const huge = rows[0]?.id ?? "";
  // The crossings of the new products have been drained.
  for (;;) {
    const { rowCount } = await owner.query("select from nexus_engine.stock_event limit 1");
    if (!rowCount) break;
    await sleep(100);
  }
  await owner.query("vacuum (analyze) public.productos, nexus_engine.stock_watch");
  return huge;
}

/** As if nothing had ever been told to the store. */
async function forget(owner: Client, store: string): Promise<void> {
  await owner.query("delete from nexus_engine.open_insight where tienda_id = $1", [store]);
  await owner.query("delete from public.insights where tienda_id = $1", [store]);
}
