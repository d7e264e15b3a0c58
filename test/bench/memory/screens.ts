import { createClient } from "graphql-ws";
import { WebSocket } from "ws";
import { signToken } from "../../../src/graphql/token.ts";
import type { Shop } from "../shops.ts";

/** What the POS's app asks for. */
const documents: [query: string, variables: (n: number) => Record<string, unknown>][] = [
  [
    `query Feed($first: Int!) { insights(first: $first, orderBy: URGENCIA, filter: { isActive: { equalTo: true } }) {
       nodes { id tipo nivelUrgencia mensaje extraData createdAt producto { sku stockActual } }
       pageInfo { hasNextPage endCursor } } }`,
    (n) => ({ first: 10 + (n % 40) }),
  ],
  ["query Badge { insightStats { active byUrgencia { key count } } }", () => ({})],
  [
    `query Sales { salesSummary { total tickets today { total totalChangePercent } week { total } month { total } }
       salesByHour { hour total } }`,
    () => ({}),
  ],
  [
    `query Shelf($name: String!) { productos(first: 50, orderBy: STOCK_ACTUAL_ASC, filter: { nombre: { includesInsensitive: $name } }) {
       totalCount nodes { id nombre sku stockActual precioVenta insights(first: 3) { nodes { mensaje } } } } }`,
    (n) => ({ name: String(n % 10) }),
  ],
  ["query Top { topProductos(first: 10) { nombre units revenue } }", () => ({})],
  ["query Stock { stockSummary { low outOfStock valueAtCost } tienda { nombre } }", () => ({})],
];

const subscription =
  "subscription { insightChanged { refetch changes { kind insight { id mensaje isActive } } } }";

/** The app's screens, in all stores. Whatever goes wrong throws: it must not look like little memory. */
export type Screens = {
  messages: number;
  query(shop: Shop, n: number): Promise<void>;
  refresh(shop: Shop): Promise<void>;
  /** Subscribes; returns, once that has begun, how to close it again. */
  open(shop: Shop): Promise<() => Promise<void>>;
};

/** @param distinct each document is a text of its own, as of a client that writes values into it. */
export function openScreens(api: string, secretKey: string, distinct: boolean): Screens {
  const key = new TextEncoder().encode(secretKey);
  const bearer = async (user: string) => `Bearer ${await signToken(user, key, 3600)}`;
  let texts = 0;

  async function ask(
    { user }: Shop,
    query: string,
    variables: Record<string, unknown>,
  ): Promise<void> {
    texts += 1;
    const response = await fetch(api, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: await bearer(user) },
      body: JSON.stringify({ query: distinct ? `${query} # ${texts}` : query, variables }),
    });
    const answer = (await response.json()) as { data?: unknown; errors?: unknown };
    if (!answer.data || answer.errors) {
      throw new Error(`${response.status} for ${query}: ${JSON.stringify(answer.errors)}`);
    }
  }

  const screens: Screens = {
    messages: 0,
    async query(shop, n) {
      const [query, variables] = documents[n % documents.length] ?? ["", () => ({})];
      await ask(shop, query, variables(n));
    },
    refresh: (shop) =>
      ask(shop, "mutation { refreshInsights(input: {}) { refreshRequest { id status } } }", {}),
    async open({ user }) {
      const client = createClient({
        url: api.replace("http", "ws"),
        webSocketImpl: WebSocket,
        connectionParams: { authorization: await bearer(user) },
        retryAttempts: 0,
      });
      const begun = Promise.withResolvers<void>();
      const ended = Promise.withResolvers<void>();
      // Whoever closes the screen hears of it.
      ended.promise.catch(() => {});
      const fail = (reason: string) => {
        const error = new Error(`a subscription ${reason}`);
        begun.reject(error);
        ended.reject(error);
      };
      let closing = false;
      const stop = client.subscribe(
        { query: subscription },
        {
          next({ errors }) {
            if (errors) fail(`brought ${JSON.stringify(errors)}`);
            screens.messages += 1;
            begun.resolve();
          },
          error: (error) => fail(`failed: ${(error as { code?: number }).code ?? error}`),
          complete() {
            if (closing) ended.resolve();
            else fail("ended by itself");
          },
        },
      );
      await begun.promise;
      return async () => {
        closing = true;
        stop();
        await ended.promise;
        await client.dispose();
      };
    },
  };
  return screens;
}
