import { explainFailure } from "./database/start-failure.ts";
import { stepOf } from "./database/steps.ts";
import { type Logger, withoutSecrets } from "./log.ts";

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
  process.on("uncaughtException", exitWithError);
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
  const uncaught = Promise.withResolvers<never>();
  process.off("uncaughtException", exitWithError).on("uncaughtException", (err) => {
    log.error({ err }, "nobody caught this error");
    uncaught.reject(err);
  });
  const exitCode = await Promise.race([
    signalled,
    Promise.race([failed, uncaught.promise]).then(
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

/** Errors whose message says all that a person needs. */
const plain = [
  "ConfigError",
  "PosSchemaError",
  "RightsError",
  "MigrationError",
  "SessionError",
  "EmbeddedError",
  "UsageError",
];

/** Ends the process with what a person can act on: no stack, and no secret. */
export function exitWithError(error: unknown): never {
  return exitWithErrorOf("The start")(error);
}

/** The same for what is no start: `what` names it, where the error does not say all. */
export function exitWithErrorOf(what: string): (error: unknown) => never {
  return (error) => {
    if (error instanceof Interrupted) process.exit(0);
    process.stderr.write(`${withoutSecrets(sentenceFor(error, what))}\n`);
    process.exit(1);
  };
}

/** What is printed of an error, before secrets are blotted out. */
export function sentenceFor(error: unknown, what = "The start"): string {
  const step = stepOf(error);
  return `${step === undefined ? "" : `At the step "${step}": `}${explain(error, what)}`;
}

function explain(error: unknown, what: string): string {
  if (!(error instanceof Error)) return `${what} failed: ${error}`;
  const isPlain = plain.includes(error.name);
  // These say where it was, which is no help where a disk is full.
  const known = !isPlain || ["MigrationError", "EmbeddedError"].includes(error.name);
  const sentence = known ? explainFailure(error) : undefined;
  if (isPlain) return sentence ?? error.message;
  return (
    sentence ??
    `${what} failed: ${error.message || error.name}. With LOG_LEVEL=debug the log says where.`
  );
}

export class UsageError extends Error {
  override name = "UsageError";
}
