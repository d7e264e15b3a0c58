import type { Logger } from "./log.ts";

/** How long a stop may take before the process exits all the same. */
const stopLimitMs = 25_000;

/**
 * Runs until SIGINT, SIGTERM or `failed`, then stops in order and exits: 0 after a signal, 1 after a
 * fault or when the stop takes too long. A second signal exits at once.
 */
export async function runUntilStopped(
  log: Logger,
  stop: () => Promise<void>,
  failed: Promise<unknown>,
): Promise<never> {
  const { promise: signalled, resolve } = Promise.withResolvers<0>();
  let signals = 0;
  const onSignal = () => {
    signals += 1;
    if (signals > 1) process.exit(1);
    resolve(0);
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);

  const exitCode = await Promise.race([
    signalled,
    failed.then(
      () => 1,
      (err: unknown) => {
        log.fatal({ err }, "stopping after a fault");
        return 1;
      },
    ),
  ]);
  setTimeout(() => {
    log.fatal("the stop took too long");
    process.exit(1);
  }, stopLimitMs).unref();
  try {
    await stop();
  } catch (err) {
    log.error({ err }, "the stop was not clean");
    process.exit(1);
  }
  process.exit(exitCode);
}

/** Ends the process with what a person can act on: the message, not the stack, of our own errors. */
export function exitWithError(error: unknown): never {
  const known =
    error instanceof Error &&
    ["ConfigError", "PosSchemaError", "MigrationError", "UsageError"].includes(error.name);
  console.error(known ? error.message : error);
  process.exit(1);
}

export class UsageError extends Error {
  override name = "UsageError";
}
