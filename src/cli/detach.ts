import { createInterface } from "node:readline/promises";
import type { Client } from "pg";
import { readConfig } from "../config.ts";
import { insufficientPrivilege, sqlState } from "../database/away.ts";
import { connect } from "../database/client.ts";
import { detach } from "../database/detach.ts";
import {
  checkRemovable,
  describeLosses,
  hasEngine,
  removeAll,
  sayLeft,
} from "../database/detach-all.ts";
import { describeTarget } from "../database/hosts.ts";
import { readLeft } from "../database/left.ts";
import { rolesThere } from "../database/roles.ts";
import type { Say } from "../database/steps.ts";
import { exitWithErrorOf, UsageError } from "../process.ts";
import { readArguments } from "./arguments.ts";

const usage = `npm run detach [-- --all [--yes]]

Takes the engine off the POS's tables of DATABASE_URL: triggers, views, index, and rights on them. Keeps its data;
its processes rest until npm run attach. Says what it did.

  --all   takes away its schemas, data and roles as well, after it was said what is lost
  --yes   of --all: asks nobody
  --help  this text

Exit code: 0 done, or nothing to do; 1 something is left that only somebody else may take away, or it failed.
`;

type Options = {
  /** Takes away schemas, data and roles as well. */
  all?: boolean;
  /** Whether to do that; asked after it was said what is lost. */
  agree?: (database: string) => Promise<boolean>;
};

/**
 * Takes the engine off the POS's tables of this database, and says what it did. Returns false where something is
 * left that only somebody else may take away. Throws an error that says that nothing was changed, and why.
 */
export async function takeOff(
  ownerUrl: string,
  say: Say,
  { all = false, agree = async () => true }: Options = {},
): Promise<boolean> {
  const client = await connect(ownerUrl, "nexus-detach");
  try {
    const where = `database "${client.database}" at ${describeTarget(ownerUrl)}`;
    if (!(await hasEngine(client))) {
      const left = await readLeft(client);
      const isClean = left.ours.length + left.ofLogins.length === 0;
      if (!all || (left.ours.length === 0 && (await rolesThere(client)).length === 0)) {
        say(
          isClean
            ? `There is nothing of the engine in ${where}.`
            : `The engine is gone from ${where}, but not all that it was given:`,
        );
        // Binds nothing: the POS may migrate.
        return sayLeft(left, say) || !all;
      }
    }
    say(`Detaching the engine from ${where}.`);
    if (all) return await takeAllOff(client, ownerUrl, say, agree);
    await detach(client, ownerUrl, say);
    say("Kept all data of the engine. Its processes rest, and no start attaches by itself.");
    say("To come back: npm run attach. To remove everything: npm run detach -- --all");
    return true;
  } catch (error) {
    if (sqlState(error) !== insufficientPrivilege) throw error;
    throw new UsageError(
      `The login "${client.user}" may not do this (${(error as Error).message}): connect as the one that attached the engine, or as another member of nexus_owner.`,
    );
  } finally {
    await client.end();
  }
}

async function takeAllOff(
  client: Client,
  ownerUrl: string,
  say: Say,
  agree: (database: string) => Promise<boolean>,
): Promise<boolean> {
  await checkRemovable(client);
  await warn(client, say);
  if (!(await agree(client.database ?? ""))) throw new UsageError("Nothing was changed.");
  if (await hasEngine(client)) await detach(client, ownerUrl, say, { forGood: true });
  const isGone = await removeAll(client, say);
  say(
    isGone
      ? "To come back: npm start, then npm run import -- --file FILE."
      : "Not complete: see LEFT.",
  );
  return isGone;
}

async function warn(client: Client, say: Say): Promise<void> {
  const losses = await describeLosses(client);
  if (losses.length === 0) return;
  say(`With --all these are lost for good:\n  ${losses.join("\n  ")}`);
  say("npm run export -- --file FILE saves settings, thresholds, operators and parameters.");
}

/** Of a person at the terminal. */
async function ask(database: string): Promise<boolean> {
  if (!process.stdin.isTTY) {
    throw new UsageError("Nothing was changed: where no terminal can be asked, --all needs --yes.");
  }
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  // Ctrl-C and the end of the input are a no.
  const left = new Promise<string>((resolve) => terminal.once("close", () => resolve("")));
  const question = `To go on, type the database's name (${database}): `;
  const answer = await Promise.race([terminal.question(question).catch(() => ""), left]);
  terminal.close();
  return answer.trim() === database;
}

async function main(): Promise<void> {
  const values = readArguments(usage, { all: { type: "boolean" }, yes: { type: "boolean" } });
  const { databaseUrl: ownerUrl } = readConfig(process.env, { needsSecretKey: false });
  if (!ownerUrl) {
    throw new UsageError(
      "npm run detach is for the POS's database, which DATABASE_URL names. The embedded one is the engine's own: to be rid of it, stop npm start and delete its folder (DATA_DIR, .data where it is not set).",
    );
  }
  const options = { all: values.all ?? false, ...(!values.yes && { agree: ask }) };
  if (!(await takeOff(ownerUrl, console.log, options))) process.exitCode = 1;
}

if (import.meta.main) await main().catch(exitWithErrorOf("npm run detach"));
