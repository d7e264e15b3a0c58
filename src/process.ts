import type { Logger } from "./log.ts";

/** One Ctrl-C can arrive twice: from the terminal, and from npm, which hands it on. */
const sameSignalMs = 500;

/** How long a stop may take before the process exits all the same. */
const stopLimitMs = 25_000;

export type Signals = {
  /** Settles with the first SIGINT or SIGTERM. */
  signalled: Promise<0>;
  /** Aborted then, with an Interrupted, for a start that waits. */
  signal: AbortSignal;
};

/** A start that had nothing to stop yet. */
class Interrupted extends Error {}

/**
 * Catches SIGINT and SIGTERM; a second one exits at once. Call it before anything is started, so that
 * a start that is interrupted is stopped in order as well.
 */
export function catchSignals(): Signals {
  const { promise, resolve } = Promise.withResolvers<0>();
  const stopping = new AbortController();
  let first: number | undefined;
  const onSignal = () => {
    const now = performance.now();
    first ??= now;
    if (now - first > sameSignalMs) process.exit(1);
    resolve(0);
    stopping.abort(new Interrupted());
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return { signalled: promise, signal: stopping.signal };
}

/**
 * Runs until `signalled` or `failed`, then stops in order and exits: 0 after a signal, 1 after a
 * fault or when the stop takes too long.
 */
export async function runUntilStopped(
  log: Logger,
  stop: () => Promise<void>,
  failed: Promise<unknown>,
  signalled: Promise<0>,
): Promise<never> {
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
  if (error instanceof Interrupted) process.exit(0);
  const known =
    error instanceof Error &&
    ["ConfigError", "PosSchemaError", "MigrationError", "SessionError", "UsageError"].includes(
      error.name,
    );
  console.error(known ? error.message : error);
  process.exit(1);
}

export class UsageError extends Error {
  override name = "UsageError";
}
