import { spawn } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";

/**
 * npm run bench: every part, one after the other, each in a process of its own on a Postgres of its
 * own. `npm run bench -- push jobs` runs just these. Keep the machine quiet meanwhile.
 */
const parts = {
  engine: "a full refresh, one store, batches, the guide's loop, GraphQL queries",
  growth: "a steady refresh with ten times the sales, and ten times the products",
  checkout: "what a sale pays for our triggers and our index",
  attach: "what a POS that sells notices of attach(), detach(), its own alterations and a backup",
  settings: "sales of other stores while one changes its settings, and while a worker starts",
  rollups: "one day's changes in five years of sales, beside 60 days",
  summaries: "the daily summaries of 1,000 stores: told, completed, corrected",
  push: "from the commit of a sale to the subscriber's screen",
  jobs: "jobs beside Graphile Worker alone, pg-boss and BullMQ",
  "held-up": "alerts and refreshes of others while one store's rows are locked for a minute",
  rescue: "from kill -9 of a worker to its job running again",
  relations: "what follows a relation, lists or counts, of a store with 2,000 and 100,000 insights",
  fleet: "10,000 stores on the hour, with one, two and four processes",
  memory: "an hour of 100 stores in one process",
  answers: "the largest answer and the most memory that a document of 100 kB causes",
};

type Part = keyof typeof parts;

async function main(): Promise<void> {
  const { positionals } = parseArgs({ allowPositionals: true });
  const unknown = positionals.filter((name) => !Object.hasOwn(parts, name));
  if (unknown.length > 0) {
    throw new Error(`expected some of ${Object.keys(parts).join(", ")}, got ${unknown.join(", ")}`);
  }
  const names = (positionals.length > 0 ? positionals : Object.keys(parts)) as Part[];
  const failed: string[] = [];
  for (const name of names) {
    console.log(`\n=== ${name}: ${parts[name]}`);
    const since = performance.now();
    const code = await runPart(name);
    const seconds = ((performance.now() - since) / 1000).toFixed(0);
    console.log(`\n=== ${name} ${code === 0 ? "took" : "FAILED after"} ${seconds} s`);
    if (code !== 0) failed.push(name);
  }
  if (failed.length > 0) {
    console.error(`\nFailed: ${failed.join(", ")}`);
    process.exitCode = 1;
  }
}

function runPart(name: Part): Promise<number> {
  const child = spawn(process.execPath, [join(import.meta.dirname, `${name}.ts`)], {
    stdio: "inherit",
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 1));
  });
}

await main();
