import { Client } from "pg";
import { type Contender, type ContenderOptions, requireFrom } from "./contender.ts";

type Job = { id: string; data: { n: number } };

/** What is used of its types. */
type PgBoss = {
  start(): Promise<unknown>;
  stop(options: { graceful: boolean }): Promise<void>;
  on(event: "error", listener: (error: unknown) => void): void;
  createQueue(name: string, options: { notify: boolean }): Promise<void>;
  insert(name: string, jobs: { data: { n: number } }[]): Promise<unknown>;
  send(name: string, data: { n: number }, options: { db: unknown }): Promise<unknown>;
  work(
    name: string,
    options: Record<string, unknown>,
    handler: (jobs: Job[]) => Promise<unknown>,
  ): Promise<unknown>;
};
type Module = { PgBoss: new (options: Record<string, unknown>) => PgBoss };

const queue = "trivial";

/** Woken by NOTIFY, and fetching on at once while batches come full. */
export async function openPgBoss(options: ContenderOptions): Promise<Contender> {
  const { url, packagesDir, concurrency, batch } = options;
  const { PgBoss } = requireFrom<Module>(packagesDir, "pg-boss");
  const boss = new PgBoss({ connectionString: url, max: concurrency + 6, useListenNotify: true });
  boss.on("error", (error) => {
    console.error(error);
    process.exit(1);
  });
  await boss.start();
  await boss.createQueue(queue, { notify: true });
  const client = new Client({ connectionString: url });
  await client.connect();
  const db = {
    executeSql: (text: string, values: unknown[]) => client.query(text, values),
  };
  return {
    async fill(count) {
      await boss.insert(
        queue,
        Array.from({ length: count }, (_, n) => ({ data: { n } })),
      );
    },
    async work(onStart) {
      await boss.work(
        queue,
        {
          batchSize: batch,
          localConcurrency: concurrency,
          burstWhenBatchFull: true,
          pollingIntervalSeconds: 0.5,
          notifyPollingIntervalSeconds: 0.5,
          // As ours and the others have it: each job ends by itself.
          perJobResults: true,
        },
        async (jobs) =>
          jobs.map(({ id, data }) => {
            onStart(data.n);
            return { id, status: "completed" };
          }),
      );
    },
    async enqueue(n) {
      await client.query("begin");
      await boss.send(queue, { n }, { db });
      const sent = performance.now();
      await client.query("commit");
      return sent;
    },
    async left() {
      const { rows } = await client.query<{ left: number }>(
        "select count(*)::int as left from pgboss.job where name = $1 and state < 'completed'",
        [queue],
      );
      return rows[0]?.left ?? 0;
    },
    async end() {
      await boss.stop({ graceful: false });
      await client.end();
    },
  };
}
