import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { exitWithError, UsageError } from "../process.ts";
import { checkEngine, describeSettings, importSettings, parseSettings } from "../settings-file.ts";
import { withDatabase } from "./settings.ts";

/** How many of those that were left out are named. */
const namedAtMost = 20;

/** npm run import -- --file FILE: sets what npm run export wrote, all of it or nothing. */
async function main(): Promise<void> {
  const { values } = parseArgs({ options: { file: { type: "string" } } });
  const { file } = values;
  if (file === undefined) throw new UsageError("--file: expected a file of npm run export");
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(`${file} cannot be read (${error.code}).`);
  });
  const settings = parseSettings(text);
  const leftOut = await withDatabase("nexus-import", async (client) => {
    await checkEngine(client, true);
    return importSettings(client, settings);
  });
  console.log(`Read ${file} (${describeSettings(settings)}). It applies from the next pass on.`);
  if (leftOut.length === 0) return;
  console.log(`Left out ${leftOut.length}, which this database does not have:`);
  for (const { path, value } of leftOut.slice(0, namedAtMost)) console.log(`  ${path}: ${value}`);
  if (leftOut.length > namedAtMost) console.log(`  and ${leftOut.length - namedAtMost} more`);
}

await main().catch(exitWithError);
