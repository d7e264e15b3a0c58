import { AsyncLocalStorage } from "node:async_hooks";

const current = new AsyncLocalStorage<string>();

/** The id of the request that is being answered, the same in its log lines and its answer. */
export function requestId(): string | undefined {
  return current.getStore();
}

export function withRequestId<T>(id: string, run: () => T): T {
  return current.run(id, run);
}
