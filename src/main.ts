import { parseArgs } from "node:util";
import { readConfig } from "./config.ts";
import { describeDemo } from "./demo.ts";
import { startEngine } from "./engine.ts";
import { catchSignals, exitWithError, runUntilStopped } from "./process.ts";

/** npm start: database, worker and HTTP server in one process. */
async function main(): Promise<void> {
  const { signalled, signal } = catchSignals();
  const { values } = parseArgs({ options: { "create-pos-schema": { type: "boolean" } } });
  const config = readConfig();
  const engine = await startEngine(
    config,
    { worker: true, server: true },
    { createPosSchema: values["create-pos-schema"] ?? false, signal },
  );
  const state = engine.suspended ? `running but suspended: ${engine.suspended}` : "running";
  console.log(`Nexus POS Insights is ${state}.
  GraphQL   ${engine.url}/graphql
  Database  ${engine.database.description}`);
  if (engine.database.embedded) console.log("  SQL       npm run psql");
  if (config.environment === "development") console.log(`  Explore   ${engine.url}/`);
  if (engine.database.embedded && engine.url && !engine.suspended) {
    console.log(await describeDemo(engine.database, engine.url, config.expectedClaims));
  }
  await runUntilStopped(engine.log, engine.stop, engine.failed, signalled);
}

await main().catch(exitWithError);
