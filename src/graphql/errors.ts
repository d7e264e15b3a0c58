import "./graphile-env.ts";
import { isSafeError, SafeError } from "postgraphile/grafast";
import { GraphQLError } from "postgraphile/graphql";
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

type DatabaseError = Error & { code: string; column?: string };

const isDatabaseError = (error: unknown): error is DatabaseError =>
  error instanceof Error && "code" in error && typeof error.code === "string";

/**
 * What a client sees of an error that happened while a request ran. Errors that we raise on purpose
 * keep their message and get a code; of all others it sees no more than the id of the request, under
 * which the log has the rest.
 */
export function makeMaskError(log: Logger): (error: GraphQLError) => GraphQLError {
  return (error) => {
    const cause = rootCause(error);
    if (isDatabaseError(cause)) {
      const code = codeBySqlState[cause.code] ?? "INTERNAL";
      if (code === "TIMEOUT") return replace(error, code, "The request took too long.");
      if (code !== "INTERNAL") return fromDatabase(error, code, cause);
    } else if (cause instanceof Error && isSafeError(cause)) {
      // Those of PostGraphile, such as a cursor of another order, have no code.
      const code = cause.extensions?.["code"] as ErrorCode | undefined;
      return replace(error, code ?? "BAD_USER_INPUT", cause.message);
    } else if (error.path === undefined) {
      // The document or its variables: nothing has run yet.
      error.extensions["code"] ??= "BAD_USER_INPUT" satisfies ErrorCode;
      return error;
    }
    const id = requestId();
    log.error({ err: cause, requestId: id, path: error.path }, "a GraphQL field failed");
    return replace(error, "INTERNAL", `Something went wrong here. Request ${id}.`, {
      requestId: id,
    });
  };
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

function rootCause(error: GraphQLError): unknown {
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
