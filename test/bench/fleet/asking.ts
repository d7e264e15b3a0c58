import { Client, type Pool } from "pg";

export type Listener = { client: Client; ended: Map<string, () => void> };

/** Hears of the refreshes of these stores. */
export async function listen(url: string, stores: string[]): Promise<Listener> {
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
export async function ask(askers: Pool, { ended }: Listener, store: string): Promise<number> {
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
