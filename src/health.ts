import { sqlState } from "./database/away.ts";

/** Work that fails for so long without a success between does not get better by itself. */
const toleratedMs = 30_000;
/** One job that fails again and again is that job's fault. */
const jobsTolerated = 2;

type Failing = { since: number; code: string; jobs: Set<string> };

/** What this process tells of its worker in /health/ready. */
export type Health = {
  /** Something that is done all the time, such as the drain of the outbox, was done, or failed. */
  succeeded(work: string): void;
  failed(work: string, error: unknown, job?: string): void;
  /** What a person should know, while the work goes on; undefined takes it back. */
  warn(about: string, warning: string | undefined): void;
  /** What cannot be done, and why: without values, because anybody may ask. */
  problems(): string[];
  warnings(): string[];
};

export function createHealth(now: () => number = () => performance.now()): Health {
  const failing = new Map<string, Failing>();
  const warnings = new Map<string, string>();
  return {
    succeeded(work) {
      failing.delete(work);
    },
    failed(work, error, job) {
      const known = failing.get(work) ?? { since: now(), code: "", jobs: new Set() };
      known.code = sqlState(error) ?? (error instanceof Error ? error.name : "unknown");
      if (job !== undefined && known.jobs.size <= jobsTolerated) known.jobs.add(job);
      failing.set(work, known);
    },
    warn(about, warning) {
      if (warning === undefined) warnings.delete(about);
      else warnings.set(about, warning);
    },
    problems() {
      return [...failing].flatMap(([work, { since, code, jobs }]) => {
        const seconds = Math.round((now() - since) / 1000);
        const tolerated =
          seconds * 1000 < toleratedMs || (jobs.size > 0 && jobs.size <= jobsTolerated);
        return tolerated ? [] : [`${work} has failed for ${seconds} s, last with ${code}`];
      });
    },
    warnings: () => [...warnings.values()],
  };
}
