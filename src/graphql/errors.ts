import "./graphile-env.ts";
import { isSafeError, SafeError } from "postgraphile/grafast";
import { BREAK, GraphQLError, visit } from "postgraphile/graphql";
import { isAway } from "../database/away.ts";
import { explanation, type SuspensionWatch } from "../database/suspension.ts";
import { codeBySqlState, type ErrorCode, httpStatusByCode } from "../errors.ts";
import type { Logger } from "../log.ts";
import { requestId } from "./request-id.ts";

/** An error that ends the whole request: with its HTTP status, and its code in `extensions.code`. */
export function apiError(
  code: ErrorCode,
  message: string,
  statusCode: number = httpStatusByCode[code],
): SafeError {
  return new SafeError(message, { code, statusCode });
}

/**
 * What a client sees of an error that is ours: whether asking again helps, and the id under which the
 * log has the rest.
 */
export function internalError(cause: unknown, requestId: string | undefined): SafeError {
  const { code, message } = fault(cause, requestId);
  return new SafeError(message, { code, statusCode: httpStatusByCode[code], requestId });
}

function fault(
  cause: unknown,
  requestId: string | undefined,
): { code: "UNAVAILABLE" | "INTERNAL"; message: string } {
  return isAway(cause)
    ? { code: "UNAVAILABLE", message: `The database is away, try again. Request ${requestId}.` }
    : { code: "INTERNAL", message: `Something went wrong here. Request ${requestId}.` };
}

/** Seconds after which a client may ask a suspended engine again: the POS's migrations take no longer. */
export const retryAfter = 5;

/** Without the reason, which names tables: that is for the log and for readiness. */
export const suspendedMessage = "The service is suspended for maintenance, try again later.";

type DatabaseError = Error & { code: string; column?: string };

const isDatabaseError = (error: unknown): error is DatabaseError =>
  error instanceof Error && "code" in error && typeof error.code === "string";

/**
 * What a client sees of an error that happened while a request ran. Errors that we raise on purpose
 * keep their message and get a code; of all others it sees no more than the id of the request, under
 * which the log has the rest.
 */
export function makeMaskError(
  log: Logger,
  suspension: Pick<SuspensionWatch, "current" | "wasJustChanged">,
): (error: GraphQLError) => GraphQLError {
  return (error) => {
    const cause = rootCause(error);
    const suspended = explanation(cause, suspension);
    if (suspended) {
      return replace(error, "UNAVAILABLE", suspendedMessage, { retryAfter });
    }
    if (isDatabaseError(cause)) {
      const code = codeBySqlState[cause.code] ?? "INTERNAL";
      if (isDataException(cause) && hasCursor(error)) {
        return replace(error, "BAD_USER_INPUT", badCursor, { field: "after" });
      }
      if (code === "TIMEOUT") return replace(error, code, "The request took too long.");
      if (code === "UNAVAILABLE") return replace(error, code, locked);
      if (code !== "INTERNAL") {
        return cause.code.startsWith("NX")
          ? fromDatabase(error, code, cause)
          : replace(error, code, unstorable);
      }
    } else if (cause instanceof Error && isSafeError(cause)) {
      // Those of PostGraphile, such as a cursor of another order, have no code.
      const code = cause.extensions?.["code"] as ErrorCode | undefined;
      const wait = cause.extensions?.["retryAfter"];
      return replace(
        error,
        code ?? (isTimeout(cause) ? "TIMEOUT" : "BAD_USER_INPUT"),
        cause.message,
        wait === undefined ? {} : { retryAfter: wait },
      );
    } else if (error.path === undefined && cause instanceof GraphQLError) {
      // The document or its variables: nothing has run yet.
      error.extensions["code"] ??= "BAD_USER_INPUT" satisfies ErrorCode;
      return error;
    }
    const id = requestId();
    log.error({ err: cause, requestId: id, path: error.path }, "a GraphQL field failed");
    const { code, message } = fault(cause, id);
    return replace(error, code, message, { requestId: id });
  };
}

const isDataException = ({ code }: DatabaseError) => /^22...$/.test(code);

/** Whether a list is asked for from a cursor on: its values are the client's, of whatever type. */
function hasCursor(error: GraphQLError): boolean {
  let found = false;
  for (const node of error.nodes ?? []) {
    visit(node, {
      Argument({ name }) {
        if (name.value === "after") found = true;
        return found ? BREAK : undefined;
      },
    });
  }
  return found;
}

const badCursor = "after: expected a cursor that this list gave";
const locked = "Something else is changing the same at this moment: try again in some seconds.";
const unstorable = "Expected text without NUL and without half characters.";

/**
 * Hands what is thrown while a request runs to maskError, as an error of the request. Grafserv would
 * print it and answer with its message.
 */
export const ThrownErrorsPlugin: GraphileConfig.Plugin = {
  name: "ThrownErrorsPlugin",
  version: "1.0.0",
  grafast: {
    middleware: {
      execute: (next) => caught(next),
      subscribe: (next) => caught(next),
    },
  },
};

async function caught<T>(next: () => T): Promise<Awaited<T> | { errors: GraphQLError[] }> {
  try {
    return await next();
  } catch (thrown) {
    const originalError = thrown instanceof Error ? thrown : new Error(String(thrown));
    return { errors: [new GraphQLError("thrown", { originalError })] };
  }
}

/** Our SQL names the column first; the client knows it as a GraphQL argument. */
function fromDatabase(error: GraphQLError, code: ErrorCode, cause: DatabaseError): GraphQLError {
  const { column } = cause;
  if (!column) return replace(error, code, cause.message);
  const field = column.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  const message = cause.message.startsWith(`${column}:`)
    ? field + cause.message.slice(column.length)
    : cause.message;
  return replace(error, code, message, { field });
}

/** Grafast marks its own time-outs, such as that of planning, with symbols. */
const isTimeout = ({ extensions }: SafeError) =>
  Object.getOwnPropertySymbols(extensions ?? {}).length > 0;

export function rootCause(error: Error): unknown {
  let cause: unknown = error;
  while (cause instanceof GraphQLError && cause.originalError) cause = cause.originalError;
  return cause;
}

function replace(
  { nodes, source, positions, path }: GraphQLError,
  code: ErrorCode,
  message: string,
  more: Record<string, unknown> = {},
): GraphQLError {
  return new GraphQLError(message, {
    nodes: nodes ?? null,
    source: source ?? null,
    positions: positions ?? null,
    path: path ?? null,
    extensions: { code, ...more },
  });
}
