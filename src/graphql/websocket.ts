import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { handleProtocols, makeServer, type ServerOptions } from "graphql-ws";
import type { Pool } from "pg";
import { type ExecutionArgs, GraphQLError, getOperationAST } from "postgraphile/graphql";
import { type WebSocket, WebSocketServer } from "ws";
import { endSocket } from "../answers.ts";
import type { SuspensionWatch } from "../database/suspension.ts";
import type { Logger } from "../log.ts";
import type { Announcements } from "./announcements.ts";
import { checkAccount, readToken } from "./authentication.ts";
import { apiError } from "./errors.ts";
import { makeLive } from "./live.ts";
import { withRequestId } from "./request-id.ts";
import { openSession, sessionOf } from "./session.ts";
import type { Share } from "./shares.ts";
import type { ExpectedClaims } from "./token.ts";
import {
  authorization,
  type Client,
  closeAt,
  closeCode,
  isFlooded,
  keepsUp,
  refuse,
  send,
  tryLater,
} from "./websocket-client.ts";

export const maxMessageBytes = 64_000;
export const maxSubscriptions = 20;
export const maxConnectionsPerUser = 10;

/** How long a client may take to say who it is, and to answer our goodbye. */
const initMs = 5_000;
const goodbyeMs = 1_000;

export type WebSocketOptions = {
  /** Runs what a client subscribes to. */
  graphql: ServerOptions;
  announcements: Announcements;
  secretKeys: readonly Uint8Array[];
  expectedClaims?: ExpectedClaims;
  pool: Pool;
  share: Share;
  suspension: SuspensionWatch;
  log: Logger;
  /** How often a client must answer a ping, and its user and store are looked at again. */
  checkMs: number;
};

export type WebSockets = {
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Tells all clients to come again later. */
  endAll(): void;
  /** Says goodbye to all clients; takes no new ones from the moment that it is called. */
  close(): Promise<void>;
};

/** Subscriptions over graphql-ws, each connection with the rights of its token as long as it is valid. */
export function startWebSockets(options: WebSocketOptions): WebSockets {
  const { graphql, announcements, secretKeys, pool, share, suspension, log, checkMs } = options;
  const clients = new Set<Client>();
  const connectionsOf = new Map<string, number>();
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: maxMessageBytes,
    handleProtocols: (offered) => handleProtocols(offered),
  });

  /** Throws what readToken and checkAccount throw, and errors of the database. */
  async function admit(client: Client, header: string | undefined): Promise<void> {
    const { socket } = client;
    const claims = await readToken(header, secretKeys, options.expectedClaims);
    await checkAccount(claims.userId, pool, share);
    // As the database writes it, whatever the token does.
    const userId = claims.userId.toLowerCase();
    const tiendaId = (await share(userId, () => storesOf(pool, [userId]))).get(userId);
    if (!tiendaId) throw apiError("STORE_INACTIVE", "The store is not active.");
    if (socket.readyState !== socket.OPEN) return;
    const others = connectionsOf.get(userId) ?? 0;
    if (others >= maxConnectionsPerUser) {
      socket.close(closeCode.tooMany, `at most ${maxConnectionsPerUser} connections a user`);
      return;
    }
    connectionsOf.set(userId, others + 1);
    const live = makeLive(announcements, tiendaId, () => keepsUp(socket));
    openSession(socket, { userId, tiendaId, live });
    closeAt(client, claims.expiresAt);
  }

  function forget(userId: string | undefined): void {
    if (userId === undefined) return;
    const left = (connectionsOf.get(userId) ?? 0) - 1;
    if (left > 0) connectionsOf.set(userId, left);
    else connectionsOf.delete(userId);
  }

  const server = makeServer<Record<string, unknown>, Client>({
    ...(graphql as ServerOptions<Record<string, unknown>, Client>),
    connectionInitWaitTimeout: initMs,

    async onConnect({ connectionParams, subscriptions, extra: client }) {
      client.subscriptions = () => Object.keys(subscriptions).length;
      const header = authorization(connectionParams) ?? client.request.headers.authorization;
      await admit(client, header).catch(async (err: unknown) => {
        if (await suspension.explains(err)) client.socket.close(closeCode.tryLater, tryLater);
        else refuse(client.socket, err, log);
      });
      return client.socket.readyState === client.socket.OPEN;
    },

    async onSubscribe(context, id, payload) {
      if (context.extra.subscriptions() > maxSubscriptions) {
        return refusal(`Expected at most ${maxSubscriptions} subscriptions a connection.`);
      }
      const args = await graphql.onSubscribe?.(context, id, payload);
      if (!args || Array.isArray(args)) return args;
      const { document, operationName } = args as ExecutionArgs;
      if (getOperationAST(document, operationName)?.operation === "subscription") return args;
      return refusal("Expected a subscription: queries and mutations go over HTTP.");
    },
  });

  // A handshake that is none; ws would answer without our headers.
  sockets.on("wsClientError", (_error, socket) => endSocket(socket, 400, "BAD_USER_INPUT"));
  sockets.on("connection", (socket: WebSocket, request: IncomingMessage) => {
    const client: Client = { socket, request, answered: true, idle: false, subscriptions: () => 0 };
    clients.add(client);
    const closed = server.opened(
      {
        protocol: socket.protocol,
        close: (code, reason) => socket.close(code, reason),
        send: (text) => send(socket, text),
        onMessage(handle) {
          socket.on("message", (data) => {
            if (isFlooded(socket)) return;
            withRequestId(randomUUID(), () => handle(String(data))).catch((err: unknown) => {
              log.warn({ err }, "a message of a WebSocket could not be answered");
              socket.close(closeCode.fault);
            });
          });
        },
      },
      client,
    );
    socket.on("pong", () => {
      client.answered = true;
    });
    // Such as a message that is too large: ws closes the socket by itself.
    socket.on("error", (err) => log.debug({ err }, "a WebSocket failed"));
    socket.on("close", (code, reason) => {
      clients.delete(client);
      clearTimeout(client.expiry);
      forget(sessionOf(socket)?.userId);
      closed(code, String(reason)).catch((err: unknown) => {
        log.warn({ err }, "the subscriptions of a WebSocket could not be ended");
      });
    });
  });

  /** Cuts off who is gone without a word, idle, or no longer an active user of the same store. */
  async function check(): Promise<void> {
    for (const client of clients) {
      const idle = client.subscriptions() === 0;
      if (!client.answered) client.socket.terminate();
      else if (idle && client.idle) client.socket.close(closeCode.idle, "idle");
      client.answered = false;
      client.idle = idle;
      if (client.socket.readyState === client.socket.OPEN) client.socket.ping();
    }
    const members = [...clients].flatMap(({ socket }) => {
      const session = sessionOf(socket);
      return session ? [{ socket, ...session }] : [];
    });
    if (members.length === 0) return;
    const stores = await storesOf(pool, [...new Set(members.map(({ userId }) => userId))]);
    for (const { socket, userId, tiendaId } of members) {
      if (stores.get(userId) !== tiendaId) socket.close(closeCode.forbidden, "FORBIDDEN");
    }
  }
  const checks = setInterval(() => {
    check().catch(async (err: unknown) => {
      if (await suspension.explains(err)) return;
      log.warn({ err }, "subscribers could not be checked");
    });
  }, checkMs);

  let closing = false;
  return {
    upgrade(request, socket, head) {
      socket.on("error", (err) => log.debug({ err }, "an upgrade failed"));
      if (request.url?.split("?", 1)[0] !== "/graphql") return endSocket(socket, 404, "NOT_FOUND");
      if (closing) return endSocket(socket, 503, "UNAVAILABLE");
      sockets.handleUpgrade(request, socket, head, (webSocket) => {
        sockets.emit("connection", webSocket, request);
      });
    },

    endAll() {
      for (const { socket } of clients) socket.close(closeCode.tryLater, tryLater);
    },

    async close() {
      closing = true;
      clearInterval(checks);
      const gone = [...clients].map(
        ({ socket }) => new Promise<void>((resolve) => socket.once("close", () => resolve())),
      );
      for (const { socket } of clients) socket.close(closeCode.goingAway, "going away");
      const limit = setTimeout(() => {
        for (const { socket } of clients) socket.terminate();
      }, goodbyeMs);
      await Promise.all(gone);
      clearTimeout(limit);
    },
  };
}

async function storesOf(pool: Pool, userIds: string[]): Promise<Map<string, string>> {
  const { rows } = await pool.query<{ user_id: string; tienda_id: string }>(
    "select user_id, tienda_id from nexus_engine.active_stores($1)",
    [userIds],
  );
  return new Map(rows.map((row) => [row.user_id, row.tienda_id]));
}

function refusal(message: string): GraphQLError[] {
  const originalError = apiError("BAD_USER_INPUT", message);
  return [new GraphQLError(message, { originalError })];
}
