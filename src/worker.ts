import { readConfig } from "./config.ts";
import { startEngine } from "./engine.ts";
import { catchSignals, exitWithError, runUntilStopped } from "./process.ts";

/** npm run worker: tasks and schedules only; as many processes as wanted. */
async function main(): Promise<void> {
  const { signalled, signal } = catchSignals();
  const engine = await startEngine(readConfig(), { worker: true, server: false }, { signal });
  console.log(`Worker is running. Database: ${engine.database.description}`);
  await runUntilStopped(engine.log, engine.stop, engine.failed, signalled);
}

await main().catch(exitWithError);
