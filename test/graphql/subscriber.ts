import { type Client, createClient } from "graphql-ws";
import { WebSocket } from "ws";
import { signToken } from "../../src/graphql/token.ts";
import { type Api, secretKey } from "./api.ts";

export type Subscription = {
  // biome-ignore lint/suspicious/noExplicitAny: the tests know what they asked for
  received: { data?: any; errors?: { message: string; extensions?: { code?: string } }[] }[];
  /** The next message that nobody has taken yet. Rejects when none comes in time. */
  // biome-ignore lint/suspicious/noExplicitAny: the tests know what they asked for
  next(withinMs?: number): Promise<any>;
  /** What ended it: nothing when the server or stop() completed it. */
  ended: Promise<unknown>;
  stop(): void;
};

export type Subscriber = {
  subscribe(query: string, variables?: Record<string, unknown>): Subscription;
  closed: Promise<{ code: number; reason: string }>;
  close(): void;
};

export const wsUrl = (api: Api) => `${api.url.replace("http", "ws")}/graphql`;

/** A client of graphql-ws as this user, or with these connection parameters and headers. */
export async function connect(
  api: Api,
  as: string | { params?: Record<string, unknown>; headers?: Record<string, string> },
): Promise<Subscriber> {
  const given =
    typeof as === "string"
      ? { params: { authorization: `Bearer ${await signToken(as, secretKey, 600)}` } }
      : as;
  const closed = Promise.withResolvers<{ code: number; reason: string }>();
  class Socket extends WebSocket {
    constructor(url: string, protocol: string) {
      super(url, protocol, "headers" in given ? { headers: given.headers } : {});
    }
  }
  const client: Client = createClient({
    url: wsUrl(api),
    webSocketImpl: Socket,
    lazy: false,
    retryAttempts: 0,
    onNonLazyError: () => {},
    ...(given.params && { connectionParams: given.params }),
    on: { closed: (event) => closed.resolve(event as { code: number; reason: string }) },
  });
  return {
    closed: closed.promise,
    // It rejects with how the connection ended, which `closed` tells.
    close: () => void Promise.resolve(client.dispose()).catch(() => {}),
    subscribe: (query, variables) => listenTo(client, query, variables),
  };
}

function listenTo(
  client: Client,
  query: string,
  variables?: Record<string, unknown>,
): Subscription {
  const received: Subscription["received"] = [];
  const ended = Promise.withResolvers<unknown>();
  let taken = 0;
  let wake = () => {};
  const stop = client.subscribe(
    { query, ...(variables && { variables }) },
    {
      next: (message) => {
        received.push(message as Subscription["received"][number]);
        wake();
      },
      error: (error) => ended.resolve(error),
      complete: () => ended.resolve(undefined),
    },
  );
  return {
    received,
    ended: ended.promise,
    stop,
    async next(withinMs = 3000) {
      if (taken === received.length) {
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        wake = resolve;
        const timer = setTimeout(() => reject(new Error("no message came")), withinMs);
        await promise.finally(() => clearTimeout(timer));
      }
      const message = received[taken];
      taken += 1;
      if (message?.errors) throw new Error(JSON.stringify(message.errors));
      return message?.data;
    },
  };
}
