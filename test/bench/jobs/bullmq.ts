import { type Contender, type ContenderOptions, requireFrom } from "./contender.ts";

type Payload = { n: number };

/** What is used of its types. */
type Queue = {
  add(name: string, data: Payload): Promise<unknown>;
  addBulk(jobs: { name: string; data: Payload }[]): Promise<unknown>;
  getJobCounts(...states: string[]): Promise<Record<string, number>>;
  close(): Promise<void>;
};
type Worker = {
  on(event: "error", listener: (error: unknown) => void): void;
  waitUntilReady(): Promise<unknown>;
  close(): Promise<void>;
};
type Module = {
  Queue: new (name: string, options: object) => Queue;
  Worker: new (
    name: string,
    run: (job: { data: Payload }) => Promise<void>,
    options: object,
  ) => Worker;
};

const jobsPerCall = 1000;

/** On a Redis that has an append-only file, written to disk every second. */
export async function openBullMq(options: ContenderOptions): Promise<Contender> {
  const { url, packagesDir, concurrency } = options;
  const { Queue, Worker } = requireFrom<Module>(packagesDir, "bullmq");
  const connection = {
    host: "127.0.0.1",
    port: Number(new URL(url).port),
    maxRetriesPerRequest: null,
  };
  const queue = new Queue("trivial", { connection });
  let worker: Worker | undefined;
  return {
    async fill(count) {
      for (let from = 0; from < count; from += jobsPerCall) {
        await queue.addBulk(
          Array.from({ length: Math.min(jobsPerCall, count - from) }, (_, i) => ({
            name: "trivial",
            data: { n: from + i },
          })),
        );
      }
    },
    async work(onStart) {
      worker = new Worker("trivial", async ({ data }) => onStart(data.n), {
        connection,
        concurrency,
      });
      worker.on("error", (error) => console.error(error));
      await worker.waitUntilReady();
    },
    async enqueue(n) {
      const sent = performance.now();
      await queue.add("trivial", { n });
      return sent;
    },
    async left() {
      const counts = await queue.getJobCounts("waiting", "active", "delayed", "prioritized");
      return Object.values(counts).reduce((sum, count) => sum + count, 0);
    },
    async end() {
      await worker?.close();
      await queue.close();
    },
  };
}
