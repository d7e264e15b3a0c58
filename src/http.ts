import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Pool } from "pg";
import { closeSocket, endSocket, graphqlError, sendJson, setHeaders } from "./answers.ts";
import { type Config, defaultMutationLimits, type MutationLimits } from "./config.ts";
import { makeCors } from "./cors.ts";
import { type SuspensionWatch, shareWatch } from "./database/suspension.ts";
import { startGraphQL } from "./graphql/gate.ts";
import { withRequestId } from "./graphql/request-id.ts";
import type { ExpectedClaims } from "./graphql/token.ts";
import type { Health } from "./health.ts";
import type { Logger } from "./log.ts";

export type HttpOptions = {
  host: string;
  port: number;
  /** Try the following ports while the port is taken. */
  nextFreePort: boolean;
  environment: Config["environment"];
  /** What the POS signs its tokens with; two while a key is being replaced. */
  secretKeys: Uint8Array[];
  /** What its tokens say they are for and from, where that is to be checked. */
  expectedClaims?: ExpectedClaims;
  /** Connections that act as nexus_server; not ended here. */
  pool: Pool;
  /** One more that listens for announcements: not through PgBouncer. Default: one of the pool's. */
  listening?: Pool;
  statementTimeoutMs: number;
  mutationLimits?: MutationLimits;
  /** Exact origins whose pages may use the API. */
  corsOrigins?: readonly string[];
  log: Logger;
  /** Whether the database takes writes now. */
  isReady: () => Promise<boolean>;
  /** Whether the engine may work, where others in this process want to know as well; not stopped here. */
  suspension?: SuspensionWatch;
  /** Of the worker in this process. */
  health?: Pick<Health, "problems" | "warnings">;
  /** Shorter ones, for tests. */
  requestLimits?: Partial<typeof requestLimits>;
  /** See GraphQLOptions. */
  subscriberCheckMs?: number;
};

export type HttpServer = {
  url: string;
  close(): Promise<void>;
};

/** How long a request may still run once the server closes. */
const closeLimitMs = 5_000;
const portsToTry = 20;
/** For a request to come in: who is slower is answered 408, and a connection without one is closed. */
const requestLimits = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 1_000,
  keepAliveTimeout: 5_000,
  maxHeaderSize: 16_384,
  // Node would refuse a request without one itself, without our headers; nothing here needs it.
  requireHostHeader: false,
};

/** Serves /graphql (its subscriptions over WebSockets), /health/live and /health/ready, and the Ruru IDE at / in development. */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  const { host, environment, log, corsOrigins = [] } = options;
  const cors = makeCors(corsOrigins);
  const ide = environment === "development";
  const { suspension, release } = await shareWatch(options.suspension, options.pool, log);
  const given = { mutationLimits: defaultMutationLimits, ...options, suspension, ide };
  const graphql = await startGraphQL(given).catch(async (error: unknown) => {
    await release();
    throw error;
  });
  // Anyone may ask, so that many who ask at once get the answer of one.
  let checking: Promise<boolean> | undefined;
  const isReady = () => {
    checking ??= options
      .isReady()
      .catch(() => false)
      .finally(() => {
        checking = undefined;
      });
    return checking;
  };
  const ownRoutes: Record<string, (res: ServerResponse) => void | Promise<void>> = {
    "/health/live": (res) => sendJson(res, 200, { status: "ok" }),
    "/health/ready": async (res) => {
      const problems = (await isReady()) ? [] : ["the database does not take writes"];
      const suspended = suspension.current();
      if (suspended) problems.push(`suspended: ${suspended.reason}`);
      else if (!graphql.isOpen()) problems.push("the GraphQL schema is not built yet");
      problems.push(...(options.health?.problems() ?? []));
      const warnings = options.health?.warnings() ?? [];
      sendJson(res, problems.length > 0 ? 503 : 200, {
        status: problems.length > 0 ? "unavailable" : "ok",
        ...(problems.length > 0 && { problems }),
        ...(warnings.length > 0 && { warnings }),
      });
    },
  };

  const isWebSocket = (req: IncomingMessage) => req.headers.upgrade?.toLowerCase() === "websocket";
  const server = createServer(
    { ...requestLimits, ...options.requestLimits, shouldUpgradeCallback: isWebSocket },
    (req, res) => {
      const id = requestIdOf(req);
      const path = req.url?.split("?", 1)[0] ?? "/";
      setHeaders(res, id, ide && path !== "/graphql");
      const answer = async () => {
        if (path === "/graphql" && cors.handle(req, res)) return;
        const own = req.method === "GET" || req.method === "HEAD" ? ownRoutes[path] : undefined;
        if (own) return own(res);
        if (path === "/graphql" && req.method !== "POST") {
          res.setHeader("allow", "POST");
          return sendJson(res, 405, graphqlError("BAD_USER_INPUT", "Expected the method POST."));
        }
        return graphql.handle(req, res, () => sendJson(res, 404, { error: "NOT_FOUND" }));
      };
      withRequestId(id, answer).catch((err: unknown) => {
        log.error({ err, requestId: id }, "a request failed");
        if (res.headersSent) res.destroy();
        else sendJson(res, 500, { error: "INTERNAL", requestId: id });
      });
    },
  );
  server.on("upgrade", (req, socket, head) => {
    if (cors.allowsUpgrade(req)) graphql.upgrade(req, socket, head);
    else endSocket(socket, 403, "FORBIDDEN");
  });
  server.on("clientError", refuseBadRequest);
  server.on("checkExpectation", (req, res) => {
    setHeaders(res, requestIdOf(req), false);
    sendJson(res, 417, { error: "BAD_USER_INPUT" });
  });

  try {
    const port = await listen(server, host, options.port, options.nextFreePort);
    return {
      url: `http://${displayHost(host)}:${port}`,
      close: async () => {
        await Promise.all([closeServer(server), graphql.closeSockets()]);
        await graphql.release();
        await release();
      },
    };
  } catch (error) {
    await graphql.closeSockets();
    await graphql.release();
    await release();
    throw error;
  }
}

/** What Node answers itself, and without our headers, unless we do: no HTTP, too long, too slow. */
function refuseBadRequest(error: NodeJS.ErrnoException, socket: Duplex): void {
  const { _httpMessage: pending } = socket as Duplex & { _httpMessage?: ServerResponse | null };
  if (!socket.writable || pending?.headersSent) socket.destroy();
  // The request before gets its own answer, and not this one for it.
  else if (pending?.req.complete) pending.once("finish", () => closeSocket(socket));
  else if (error.code === "HPE_HEADER_OVERFLOW") endSocket(socket, 431, "BAD_USER_INPUT");
  else if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") endSocket(socket, 408, "TIMEOUT");
  else endSocket(socket, 400, "BAD_USER_INPUT");
}

/** The caller's own id, so that its log and ours can be joined, if it is fit to be logged. */
function requestIdOf(req: IncomingMessage): string {
  const given = req.headers["x-request-id"];
  return typeof given === "string" && /^[\w.-]{8,64}$/.test(given) ? given : randomUUID();
}

/** Listens on the port, or on the next free one, and says which. */
async function listen(
  server: Server,
  host: string,
  port: number,
  nextFreePort: boolean,
): Promise<number> {
  for (let tried = 0; ; tried += 1) {
    try {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      server.once("error", reject);
      server.listen(port + tried, host, () => {
        server.off("error", reject);
        resolve();
      });
      await promise;
      const address = server.address();
      return typeof address === "object" && address ? address.port : port;
    } catch (error) {
      const taken = error instanceof Error && "code" in error && error.code === "EADDRINUSE";
      if (!taken || !nextFreePort || port === 0 || tried + 1 >= portsToTry) throw error;
    }
  }
}

/** An address that a person can open. */
function displayHost(host: string): string {
  if (["127.0.0.1", "::1", "0.0.0.0", "::"].includes(host)) return "localhost";
  return host.includes(":") ? `[${host}]` : host;
}

/** No new connections; those that are at work have a few seconds, those that are not are ended. */
async function closeServer(server: Server): Promise<void> {
  const idle = setInterval(() => server.closeIdleConnections(), 50);
  const limit = setTimeout(() => server.closeAllConnections(), closeLimitMs);
  await new Promise<void>((resolve) => server.close(() => resolve()));
  clearInterval(idle);
  clearTimeout(limit);
}
