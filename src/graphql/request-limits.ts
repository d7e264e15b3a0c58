import { GraphQLError } from "postgraphile/graphql";
import { httpStatusByCode } from "../errors.ts";
import { boundAnswer } from "./answer-limits.ts";
import type { Allowance } from "./mutation-limits.ts";
import { type Price, priceOf } from "./price.ts";

/** Prices a request whose document is valid before it runs, and bounds the answer that it has. */
export function makeRequestLimitsPlugin(allowance: Allowance): GraphileConfig.Plugin {
  return {
    name: "RequestLimitsPlugin",
    version: "1.0.0",
    grafserv: {
      middleware: {
        async processRequest(next, { requestDigest }) {
          const result = await next();
          const { retryAfter, isSuspended } = requestDigest.requestContext;
          if (result && retryAfter !== undefined) {
            result.statusCode = httpStatusByCode[isSuspended ? "UNAVAILABLE" : "RATE_LIMITED"];
            result.headers["retry-after"] = String(retryAfter);
          }
          return result;
        },
      },
    },
    grafast: {
      middleware: {
        async execute(next, { args }) {
          const executing = args as Grafast.ExecutionArgs;
          const price = priced(executing);
          if (price instanceof GraphQLError) return { errors: [price] };
          const refusal =
            price.mutations > 0 && (await allowance(price.mutations, executing.requestContext));
          if (refusal) return { errors: [refusal] };
          // As text, which can be measured; grafserv wants it so and does not say it.
          executing.outputDataAsString = true;
          const answer = await next();
          return Symbol.asyncIterator in answer ? answer : boundAnswer(answer);
        },
        // Its messages are bounded where they are sent.
        subscribe(next, { args }) {
          const price = priced(args as Grafast.ExecutionArgs);
          return price instanceof GraphQLError ? { errors: [price] } : next();
        },
      },
    },
  };
}

function priced(args: Grafast.ExecutionArgs): Price | GraphQLError {
  try {
    return priceOf(args);
  } catch (error) {
    if (error instanceof GraphQLError) return error;
    throw error;
  }
}
