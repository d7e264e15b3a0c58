import { spawn } from "node:child_process";
import { printUsage } from "./cli/arguments.ts";
import { readConfig } from "./config.ts";
import { openDatabase } from "./database/open.ts";
import { createLog } from "./log.ts";
import { exitWithErrorOf, UsageError } from "./process.ts";

const usage = `npm run psql [-- ARGUMENTS OF PSQL]

Opens the system's psql on the embedded database, which is started where it does not run. Without a psql prints the
address for another client. psql --help says which arguments psql takes.

  --help  this text
`;

async function main(): Promise<void> {
  if (process.argv[2] === "--help") printUsage(usage);
  const config = readConfig();
  if (config.databaseUrl) {
    throw new UsageError(
      'npm run psql opens the embedded database; with DATABASE_URL run psql "$DATABASE_URL".',
    );
  }
  const database = await openDatabase(config, createLog("warn"));
  // From now on Ctrl-C is for psql, which ends a statement by it and not itself.
  process.on("SIGINT", () => {});
  try {
    process.exitCode = await psql(new URL(database.ownerUrl), process.argv.slice(2));
    if (process.exitCode === undefined) {
      console.log(
        `This machine has no psql. While npm start runs, the database is at\n${database.ownerUrl}`,
      );
    }
  } finally {
    await database.close();
  }
}

/** Its exit code; undefined where there is none. */
function psql(url: URL, args: string[]): Promise<number | undefined> {
  // Not as an argument, which every user of the machine can read.
  const env = { ...process.env, PGPASSWORD: decodeURIComponent(url.password) };
  const to = ["-h", url.hostname, "-p", url.port, "-U", url.username, "-d", url.pathname.slice(1)];
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  spawn("psql", [...to, ...args], { stdio: "inherit", env })
    .once("error", (error: NodeJS.ErrnoException) =>
      error.code === "ENOENT" ? resolve(undefined) : reject(error),
    )
    .once("exit", (code) => resolve(code ?? 1));
  return promise;
}

await main().catch(exitWithErrorOf("npm run psql"));
