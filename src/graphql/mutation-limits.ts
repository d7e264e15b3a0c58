import type { Pool } from "pg";
import {
  type DocumentNode,
  GraphQLError,
  getOperationAST,
  Kind,
  type SelectionSetNode,
} from "postgraphile/graphql";
import type { MutationLimits } from "../config.ts";
import { httpStatusByCode } from "../errors.ts";
import type { Share } from "./shares.ts";

declare global {
  namespace Grafast {
    interface RequestContext {
      /** Seconds after which a request that was refused may come again. */
      retryAfter?: number;
    }
  }
}

/** What a mutation takes from the allowance, when that is not 1: this one makes the worker work. */
const costs: Record<string, number> = { refreshInsights: 5 };

/** What the operation takes when it runs: every alias and every fragment counts, whatever @skip says. */
export function mutationCost(document: DocumentNode, operationName?: string | null): number {
  const operation = getOperationAST(document, operationName);
  if (operation?.operation !== "mutation") return 0;
  const fragments = new Map<string, SelectionSetNode>();
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) {
      fragments.set(definition.name.value, definition.selectionSet);
    }
  }
  const costOf = (set: SelectionSetNode | undefined): number =>
    (set?.selections ?? []).reduce((cost, selection) => {
      if (selection.kind === Kind.FIELD) return cost + (costs[selection.name.value] ?? 1);
      return (
        cost +
        costOf(
          selection.kind === Kind.INLINE_FRAGMENT
            ? selection.selectionSet
            : fragments.get(selection.name.value),
        )
      );
    }, 0);
  return costOf(operation.selectionSet);
}

/**
 * Lets a user, and all users of a store together, do so many mutations a minute, counted in Postgres
 * over all server processes. A document counts before it runs, as a whole: it runs or it does not.
 */
export function makeMutationLimitsPlugin(
  pool: Pool,
  share: Share,
  limits: MutationLimits,
): GraphileConfig.Plugin {
  const most = Math.min(limits.user, limits.store);

  async function refusal(cost: number, context: Partial<Grafast.RequestContext> = {}) {
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
  }

  return {
    name: "MutationLimitsPlugin",
    version: "1.0.0",
    grafserv: {
      middleware: {
        async processRequest(next, { requestDigest }) {
          const result = await next();
          const { retryAfter } = requestDigest.requestContext;
          if (result && retryAfter !== undefined) {
            result.statusCode = httpStatusByCode.RATE_LIMITED;
            result.headers["retry-after"] = String(retryAfter);
          }
          return result;
        },
      },
    },
    grafast: {
      middleware: {
        async execute(next, { args }) {
          const { document, operationName, requestContext } = args as Grafast.ExecutionArgs;
          const cost = mutationCost(document, operationName);
          const problem = cost > 0 && (await refusal(cost, requestContext));
          return problem ? { errors: [problem] } : next();
        },
      },
    },
  };
}
