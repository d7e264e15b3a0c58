import type { Pool } from "pg";
import { isSafeError } from "postgraphile/grafast";
import type { SuspensionWatch } from "../database/suspension.ts";
import type { Logger } from "../log.ts";
import { apiError, internalError } from "./errors.ts";
import { requestId } from "./request-id.ts";
import type { Share } from "./shares.ts";
import { suspendedError } from "./suspension.ts";
import { type Claims, type ExpectedClaims, verifyToken } from "./token.ts";
import { makeTurns } from "./turns.ts";

declare global {
  namespace Grafast {
    interface RequestContext {
      /** users.id, set once the token is verified and user and store are active. */
      userId?: string;
      /** Whose turn it is until the request has been answered. */
      turnOf?: string;
    }
  }
}

type Account = {
  user_exists: boolean;
  user_active: boolean;
  store_active: boolean;
};

/**
 * Who sends an Authorization header, as far as it alone says. Throws an error with its HTTP status and
 * code, as checkAccount does.
 */
export async function readToken(
  header: string | undefined,
  keys: readonly Uint8Array[],
  expected?: ExpectedClaims,
): Promise<Claims> {
  const token = /^Bearer +(\S+)$/i.exec(header ?? "")?.[1];
  if (!token) throw apiError("UNAUTHENTICATED", "Expected a header Authorization: Bearer <token>.");
  return verifyToken(token, keys, expected);
}

/** Whether the user and its store are active. */
export async function checkAccount(userId: string, pool: Pool, share: Share): Promise<void> {
  const { rows } = await share(userId, () =>
    pool.query<Account>({
      name: "authenticate",
      text: "select user_exists, user_active, store_active from nexus_engine.authenticate($1)",
      values: [userId],
    }),
  );
  const account = rows[0];
  if (!account?.user_exists) throw apiError("UNAUTHENTICATED", "The user does not exist.");
  if (!account.user_active) throw apiError("USER_INACTIVE", "The user is not active.");
  if (!account.store_active) throw apiError("STORE_INACTIVE", "The store is not active.");
}

/** Asks who it is before the document is even parsed. */
export function makeAuthenticationPlugin(
  keys: readonly Uint8Array[],
  pool: Pool,
  share: Share,
  suspension: SuspensionWatch,
  log: Logger,
  expected?: ExpectedClaims,
): GraphileConfig.Plugin {
  /** Without this a database that is away would look like a body that is wrong. */
  const failure = async (err: unknown, context: Partial<Grafast.RequestContext>) => {
    if (err instanceof Error && isSafeError(err)) return err;
    if (await suspension.explain(err)) return suspendedError(context);
    const id = requestId();
    log.error({ err, requestId: id }, "a user could not be checked");
    return internalError(err, id);
  };
  const turns = makeTurns();
  return {
    name: "AuthenticationPlugin",
    version: "1.0.0",
    grafserv: {
      middleware: {
        async processRequest(next, { requestDigest }) {
          try {
            const result = await next();
            if (result?.statusCode === 401) result.headers["www-authenticate"] = "Bearer";
            return result;
          } finally {
            const { turnOf } = requestDigest.requestContext;
            if (turnOf !== undefined) turns.give(turnOf);
          }
        },

        async processGraphQLRequestBody(next, { request }) {
          // A WebSocket said who it is when it connected, see websocket.ts.
          if (request) {
            const header = request.getHeader("authorization");
            const { userId } = await readToken(header, keys, expected);
            const { requestContext } = request;
            const user = userId.toLowerCase();
            // Before the database is asked: a thousand at once would ask it a thousand times.
            if (!(await turns.take(user))) {
              requestContext.retryAfter = 1;
              throw apiError("RATE_LIMITED", "Expected fewer requests of a user at once.");
            }
            requestContext.turnOf = user;
            await checkAccount(userId, pool, share).catch(async (err) => {
              throw await failure(err, requestContext);
            });
            requestContext.userId = userId;
          }
          await next();
        },
      },
    },
  };
}
