/** SQLSTATEs that are asked for by name. */
export const insufficientPrivilege = "42501";
export const lockNotAvailable = "55P03";
export const dependentObjects = "2BP01";

/** SQLSTATEs of a server that stops, starts, is full, or takes no writes (any more). */
const passingStates = new Set(["57P01", "57P02", "57P03", "57P05", "53300", "25006"]);
const passingCodes = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "EHOSTDOWN",
  "ENETUNREACH",
  "ENETDOWN",
  "EAI_AGAIN",
  "ENOTFOUND",
]);
/** What node-postgres says without a code when a connection breaks or is not had in time. */
const passingMessages =
  /^(Connection terminated|timeout e|Client has encountered a connection error|Client was closed)/;

/** Whether the database cannot be reached now, for a reason that may pass: another attempt can succeed. */
export function isAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // A name with several addresses fails with an error for each.
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.every(isAway);
  const code = "code" in error ? String(error.code) : "";
  return (
    passingCodes.has(code) ||
    passingStates.has(code) ||
    code.startsWith("08") ||
    passingMessages.test(error.message) ||
    isAway(error.cause)
  );
}

/**
 * How long to wait before the next attempt: twice as long each time up to `mostMs`, and never at the
 * same time as everybody else who lost the same server.
 */
export function backoff(firstMs: number, mostMs: number): { next(): number; reset(): void } {
  let ms = firstMs;
  return {
    next() {
      const wait = ms * (0.5 + Math.random() / 2);
      ms = Math.min(ms * 2, mostMs);
      return wait;
    },
    reset() {
      ms = firstMs;
    },
  };
}

/** The code of an error of Postgres or of the network. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}

/** The same, or that of what caused it. */
export function sqlState(error: unknown): string | undefined {
  return codeOf(error) ?? (error instanceof Error ? sqlState(error.cause) : undefined);
}
