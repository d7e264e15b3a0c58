import { createInterface } from "node:readline/promises";
import { parseArgs } from "node:util";
import type { Client } from "pg";
import { readDatabaseUrl } from "../config.ts";
import { connect } from "../database/client.ts";
import { detach } from "../database/detach.ts";
import {
  checkRemovable,
  describeLosses,
  hasEngine,
  ownRoles,
  removeAll,
} from "../database/detach-all.ts";
import { describeTarget } from "../database/hosts.ts";
import { exitWithError, UsageError } from "../process.ts";

const say = (line: string) => console.log(line);

/**
 * npm run detach [-- --all [--yes]]: takes the engine off the POS's tables, and with --all out of the database
 * and the cluster. Exits with 1 where something is left that only somebody else may take away.
 */
async function main(): Promise<void> {
  const { values } = parseArgs({ options: { all: { type: "boolean" }, yes: { type: "boolean" } } });
  const ownerUrl = readDatabaseUrl();
  if (!ownerUrl) {
    throw new UsageError(
      "npm run detach is for the POS's database, which DATABASE_URL names. The embedded one is the engine's own: to be rid of it, stop npm start and delete the folder .data (DATA_DIR).",
    );
  }
  const client = await connect(ownerUrl, "nexus-detach");
  try {
    const where = `database "${client.database}" at ${describeTarget(ownerUrl)}`;
    const isThere = await hasEngine(client);
    if (!isThere && !(values.all && (await ownRoles(client)).length > 0)) {
      say(`There is nothing of the engine in ${where}.`);
      return;
    }
    say(`Detaching the engine from ${where}.`);
    if (values.all) {
      await checkRemovable(client);
      await confirm(client, values.yes ?? false);
    }
    let done = true;
    if (isThere) done = await detach(client, ownerUrl, say);
    if (values.all) done = (await removeAll(client, say)) && done;
    else {
      say(
        "Kept all data of the engine: settings, what was told, reports. Its processes rest, and a start does not attach by itself.",
      );
    }
    say(
      values.all
        ? "To come back: npm start, then npm run import -- --file FILE."
        : "To come back: npm run attach. To remove everything: npm run detach -- --all",
    );
    if (!done) process.exitCode = 1;
  } finally {
    await client.end();
  }
}

/** Throws a UsageError unless a person agrees, or `--yes` was given. */
async function confirm(client: Client, yes: boolean): Promise<void> {
  const losses = await describeLosses(client);
  if (losses.length > 0) {
    say(`With --all these are lost for good:\n  ${losses.join("\n  ")}`);
    say("npm run export -- --file FILE saves settings, thresholds, operators and parameters.");
  }
  if (yes) return;
  if (!process.stdin.isTTY) {
    throw new UsageError("Nothing was changed: without a terminal to ask, --all needs --yes.");
  }
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  // Ctrl-C and the end of the input leave as a no does.
  const left = new Promise<string>((resolve) => terminal.once("close", () => resolve("")));
  const question = `To go on, type the database's name (${client.database}): `;
  const answer = await Promise.race([terminal.question(question).catch(() => ""), left]);
  terminal.close();
  if (answer.trim() !== client.database) throw new UsageError("Nothing was changed.");
}

await main().catch(exitWithError);
