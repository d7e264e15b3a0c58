import type { Pool } from "pg";
import type { MutationLimits } from "../../src/config.ts";
import type { SuspensionWatch } from "../../src/database/suspension.ts";
import { type ExpectedClaims, signToken } from "../../src/graphql/token.ts";
import { startHttp } from "../../src/http.ts";
import { createLog } from "../../src/log.ts";
import type { TestDatabase } from "../support/database.ts";
import { until } from "../support/until.ts";

export const secretKey = new TextEncoder().encode("una-clave-de-prueba-con-mas-de-32-bytes");

export type GraphQLError = {
  message: string;
  path?: (string | number)[];
  extensions?: { code?: string; field?: string; requestId?: string; retryAfter?: number };
};

export type Answer = {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: the tests know what they asked for
  data: any;
  errors: GraphQLError[];
  /** The code of the first error. */
  code: string | undefined;
};

export type Api = {
  url: string;
  pool: Pool;
  /** Posts a query, as this user of the POS when one is given. */
  ask(
    userId: string | undefined,
    query: string,
    variables?: Record<string, unknown>,
  ): Promise<Answer>;
  /** Posts any body with any headers. */
  post(body: string, headers: Record<string, string>): Promise<Answer>;
  close(): Promise<void>;
};

/** The real server on a free port, on a database of the test's own. */
export async function startApi(
  db: TestDatabase,
  options: {
    log?: ReturnType<typeof createLog>;
    statementTimeoutMs?: number;
    subscriberCheckMs?: number;
    secretKeys?: Uint8Array[];
    expectedClaims?: ExpectedClaims;
    mutationLimits?: MutationLimits;
    corsOrigins?: string[];
    suspension?: SuspensionWatch;
  } = {},
): Promise<Api> {
  const pool = db.poolAs("nexus_server", 5);
  const http = await startHttp({
    host: "127.0.0.1",
    port: 0,
    nextFreePort: false,
    environment: "test",
    secretKeys: options.secretKeys ?? [secretKey],
    pool,
    statementTimeoutMs: options.statementTimeoutMs ?? 10_000,
    log: options.log ?? createLog("silent"),
    isReady: async () => true,
    ...(options.expectedClaims && { expectedClaims: options.expectedClaims }),
    ...(options.subscriberCheckMs && { subscriberCheckMs: options.subscriberCheckMs }),
    ...(options.mutationLimits && { mutationLimits: options.mutationLimits }),
    ...(options.suspension && { suspension: options.suspension }),
    ...(options.corsOrigins && { corsOrigins: options.corsOrigins }),
  });
  const post: Api["post"] = async (body, headers) => {
    const response = await fetch(`${http.url}/graphql`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body,
    });
    const { data = null, errors = [] } = (await response.json()) as {
      data?: unknown;
      errors?: GraphQLError[];
    };
    const code = errors[0]?.extensions?.code;
    return { status: response.status, headers: response.headers, data, errors, code };
  };
  return {
    url: http.url,
    pool,
    post,
    async ask(userId, query, variables) {
      const token = userId && (await signToken(userId, secretKey, 600));
      return post(
        JSON.stringify({ query, variables }),
        token ? { authorization: `Bearer ${token}` } : {},
      );
    },
    close: () => http.close(),
  };
}

/** Runs SQL as a request of this user runs, in a transaction that ends as told. */
export async function asRequest<T>(
  pool: Pool,
  user: string,
  end: "commit" | "rollback",
  run: (query: Pool["query"]) => Promise<T>,
): Promise<T> {
  const client = await pool.connect();
  try {
    await client.query("begin");
    await client.query(
      "select set_config('role', 'nexus_tienda', true), set_config('nexus.user_id', $1, true)",
      [user],
    );
    return await run(client.query.bind(client) as Pool["query"]);
  } finally {
    await client.query(end);
    client.release();
  }
}

/** The first answer that is not a refusal of a suspended engine, which takes a second to notice that it may work again. */
export async function answered(ask: () => Promise<Answer>): Promise<Answer> {
  let answer = await ask();
  await until("the API answers again", async () => {
    if (answer.code !== "UNAVAILABLE") return true;
    answer = await ask();
    return false;
  });
  return answer;
}
