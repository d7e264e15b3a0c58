import { readFile } from "node:fs/promises";
import { exitWithErrorOf, UsageError } from "../process.ts";
import { checkEngine, describeSettings, importSettings, parseSettings } from "../settings-file.ts";
import { readArguments } from "./arguments.ts";
import { withDatabase } from "./with-database.ts";

/** How many of those that were left out are named. */
const namedAtMost = 20;

const usage = `npm run import -- --file FILE

Sets what npm run export wrote, in DATABASE_URL or the embedded database. Where a field is wrong nothing is changed,
and the field is named. Whoever is not in the file keeps what he has. Stores, products, users and types that this
database does not have are left out, and named; the printed numbers are of those that were set.

  --file FILE  what npm run export wrote
  --help       this text

Exit code: 0 done, also where some were left out; 1 nothing was changed.
`;

async function main(): Promise<void> {
  const { file } = readArguments(usage, { file: { type: "string" } });
  if (file === undefined) throw new UsageError("--file: expected a file of npm run export");
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(`${file} cannot be read (${error.code}).`);
  });
  const settings = parseSettings(text);
  const leftOut = await withDatabase("nexus-import", async (client) => {
    await checkEngine(client, true);
    return importSettings(client, settings);
  });
  console.log(
    `Set from ${file} (${describeSettings(settings, leftOut)}). It applies from the next pass on.`,
  );
  if (leftOut.length === 0) return;
  console.log(`Left out ${leftOut.length}, which this database does not have:`);
  for (const { path, value } of leftOut.slice(0, namedAtMost)) console.log(`  ${path}: ${value}`);
  if (leftOut.length > namedAtMost) console.log(`  and ${leftOut.length - namedAtMost} more`);
}

await main().catch(exitWithErrorOf("npm run import"));
