import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { exitWithError, UsageError } from "../process.ts";
import { checkEngine, describeSettings, exportSettings } from "../settings-file.ts";
import { withDatabase } from "./settings.ts";

/** npm run export [-- --file FILE]: what people have set, as JSON; see settings-file.ts. */
async function main(): Promise<void> {
  const { values } = parseArgs({ options: { file: { type: "string" } } });
  const settings = await withDatabase("nexus-export", async (client) => {
    await checkEngine(client, false);
    return exportSettings(client);
  });
  const text = `${JSON.stringify(settings, null, 2)}\n`;
  if (values.file === undefined) {
    process.stdout.write(text);
    return;
  }
  // Never over an older one, which may be the only one that has the settings.
  await writeFile(values.file, text, { flag: "wx", mode: 0o600 }).catch(
    (error: NodeJS.ErrnoException) => {
      throw new UsageError(
        error.code === "EEXIST"
          ? `${values.file} is there already: name another file.`
          : `${values.file} cannot be written (${error.code}).`,
      );
    },
  );
  console.log(`Wrote ${values.file} (${describeSettings(settings)}).`);
}

await main().catch(exitWithError);
