import { createRequire } from "node:module";
import { join } from "node:path";

/** A queue with its worker, in a process of its own. */
export type Contender = {
  /** Enqueues this many jobs at once. */
  fill(count: number): Promise<void>;
  /** Begins to work, and tells of each job when its task begins. */
  work(onStart: (n: number) => void): Promise<void>;
  /** Enqueues one job; when its commit was sent, as of performance.now(). */
  enqueue(n: number): Promise<number>;
  /** How many jobs are not done yet, as the queue's storage has it. */
  left(): Promise<number>;
  end(): Promise<void>;
};

export type ContenderOptions = {
  /** Where the queue is stored. */
  url: string;
  /** Folder of the packages that are not ours. */
  packagesDir: string;
  /** Jobs at once. */
  concurrency: number;
  /** Jobs fetched at once, where the queue can do that; zero for one by one. */
  batch: number;
};

/** A package that is no dependency of ours, from the folder that packages.ts has installed it into. */
export function requireFrom<T>(packagesDir: string, name: string): T {
  return createRequire(join(packagesDir, "package.json"))(name);
}
