import { readConfig } from "./config.ts";
import { startEngine } from "./engine.ts";
import { catchSignals, exitWithError, runUntilStopped } from "./process.ts";

/** npm run server: the GraphQL API only. */
async function main(): Promise<void> {
  const { signalled, signal } = catchSignals();
  const engine = await startEngine(readConfig(), { worker: false, server: true }, { signal });
  console.log(`GraphQL at ${engine.url}/graphql. Database: ${engine.database.description}`);
  await runUntilStopped(engine.log, engine.stop, engine.failed, signalled);
}

await main().catch(exitWithError);
