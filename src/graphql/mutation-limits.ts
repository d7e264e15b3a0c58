import type { Pool } from "pg";
import { GraphQLError } from "postgraphile/graphql";
import type { MutationLimits } from "../config.ts";
import type { Share } from "./shares.ts";

declare global {
  namespace Grafast {
    interface RequestContext {
      /** Seconds after which a request that was refused may come again. */
      retryAfter?: number;
    }
  }
}

/** Takes what mutations cost from the allowance; returns the refusal when there is not enough. */
export type Allowance = (
  cost: number,
  context?: Partial<Grafast.RequestContext>,
) => Promise<GraphQLError | undefined>;

/**
 * Lets a user, and all users of a store together, do so many mutations a minute, counted in Postgres
 * over all server processes. A document counts before it runs, as a whole: it runs or it does not.
 */
export function makeAllowance(pool: Pool, share: Share, limits: MutationLimits): Allowance {
  const most = Math.min(limits.user, limits.store);
  return async (cost, context = {}) => {
    if (cost > most) {
      const message = `Expected mutations that count ${most} at most in a request, got ${cost}.`;
      return new GraphQLError(message, { extensions: { code: "QUERY_TOO_COMPLEX" } });
    }
    const { rows } = await share(context.userId ?? "", () =>
      pool.query<{ wait: number }>({
        name: "take_mutations",
        text: "select nexus_engine.take_mutations($1, $2, $3, $4) as wait",
        values: [context.userId, cost, limits.user, limits.store],
      }),
    );
    const wait = rows[0]?.wait ?? 0;
    if (wait === 0) return undefined;
    if (context.http) context.http.requestContext.retryAfter = wait;
    return new GraphQLError(
      `Expected at most ${limits.user} mutations a minute of a user and ${limits.store} of a store: wait ${wait} seconds.`,
      { extensions: { code: "RATE_LIMITED", retryAfter: wait } },
    );
  };
}
