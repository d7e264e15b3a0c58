import { writeFile } from "node:fs/promises";
import { exitWithErrorOf, UsageError } from "../process.ts";
import { checkEngine, describeSettings, exportSettings } from "../settings-file.ts";
import { readArguments } from "./arguments.ts";
import { withDatabase } from "./with-database.ts";

const usage = `npm run export [-- --file FILE]

Prints as JSON what people have set: settings of stores, thresholds of products, operators, and parameters of insight
types. Reads DATABASE_URL, or the embedded database; works while the engine is detached as well.

  --file FILE  writes there instead, never over a file that there is
  --help       this text
`;

async function main(): Promise<void> {
  const { file } = readArguments(usage, { file: { type: "string" } });
  const settings = await withDatabase("nexus-export", async (client) => {
    await checkEngine(client, false);
    return exportSettings(client);
  });
  const text = `${JSON.stringify(settings, null, 2)}\n`;
  if (file === undefined) {
    process.stdout.write(text);
    return;
  }
  // Never over an older one, which may be the only one that has the settings.
  await writeFile(file, text, { flag: "wx", mode: 0o600 }).catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(
      error.code === "EEXIST"
        ? `${file} is there already: name another file.`
        : `${file} cannot be written (${error.code}).`,
    );
  });
  console.log(`Wrote ${file} (${describeSettings(settings)}).`);
}

await main().catch(exitWithErrorOf("npm run export"));
