import "./graphile-env.ts";
import { SafeError } from "postgraphile/grafast";
import { mayBeSuspended, type SuspensionWatch } from "../database/suspension.ts";
import { httpStatusByCode } from "../errors.ts";
import { retryAfter, rootCause, suspendedMessage } from "./errors.ts";

declare global {
  namespace Grafast {
    interface RequestContext {
      /** The answer says that the engine may not work now. */
      isSuspended?: boolean;
    }
  }
}

/** What whoever asks meanwhile is answered; `context` is that of the request, where there is one. */
export function suspendedError(context: Partial<Grafast.RequestContext> | undefined): SafeError {
  sayRetry(context);
  return new SafeError(suspendedMessage, {
    code: "UNAVAILABLE",
    statusCode: httpStatusByCode.UNAVAILABLE,
    retryAfter,
  });
}

function sayRetry(context: Partial<Grafast.RequestContext> | undefined): void {
  if (context) Object.assign(context, { isSuspended: true, retryAfter });
}

/** A request that was at work when the engine was suspended, before anybody had noticed. */
export function makeSuspensionPlugin(suspension: SuspensionWatch): GraphileConfig.Plugin {
  async function explained<T>(args: unknown, next: () => T): Promise<Awaited<T>> {
    const look = async (errors: readonly unknown[]) => {
      const suspect = errors.find(mayBeSuspended);
      if (suspect === undefined || !(await suspension.explain(suspect))) return;
      sayRetry((args as Grafast.ExecutionArgs).requestContext?.http?.requestContext);
    };
    try {
      const answer = await next();
      const { errors = [] } = answer as { errors?: readonly Error[] };
      await look(errors.map(rootCause));
      return answer;
    } catch (error) {
      await look([error]);
      throw error;
    }
  }
  return {
    name: "SuspensionPlugin",
    version: "1.0.0",
    grafast: {
      middleware: {
        execute: (next, { args }) => explained(args, next),
        subscribe: (next, { args }) => explained(args, next),
      },
    },
  };
}
