import type { IncomingMessage } from "node:http";
import { isSafeError } from "postgraphile/grafast";
import type { WebSocket } from "ws";
import type { Logger } from "../log.ts";
import { tooLargeAnswer } from "./answer-limits.ts";
import { maxAnswerBytes } from "./price.ts";

/** What may wait in a socket before the next change has to, and before the client is cut off. */
const congestedBytes = 64_000;
const maxBufferedBytes = 2_000_000;
/** The longest time that a timer of Node can be set to. */
const maxTimerMs = 2 ** 31 - 1;

/** Why we close a connection; the README says what a client does then. */
export const closeCode = {
  idle: 1000,
  goingAway: 1001,
  fault: 1011,
  tryLater: 1013,
  badToken: 4401,
  forbidden: 4403,
  tooMany: 4429,
} as const;

export const tryLater = "try again later";

/** What graphql-ws and grafserv know as `extra`. */
export type Client = {
  socket: WebSocket;
  request: IncomingMessage;
  /** Since the last ping. */
  answered: boolean;
  /** Without a subscription since the last check. */
  idle: boolean;
  subscriptions(): number;
  expiry?: NodeJS.Timeout;
};

/** Browsers cannot give a WebSocket a header. */
export function authorization(params: Record<string, unknown> | undefined): string | undefined {
  const value = params?.["authorization"] ?? params?.["Authorization"];
  return typeof value === "string" ? value : undefined;
}

export function refuse(socket: WebSocket, error: unknown, log: Logger): void {
  if (error instanceof Error && isSafeError(error)) {
    const { statusCode, code } = error.extensions ?? {};
    socket.close(statusCode === 401 ? closeCode.badToken : closeCode.forbidden, String(code));
  } else {
    log.error({ err: error }, "a subscriber could not be checked");
    socket.close(closeCode.tryLater, tryLater);
  }
}

export function closeAt(client: Client, expiresAt: number): void {
  const left = expiresAt - Date.now();
  client.expiry = setTimeout(
    () => {
      if (left > maxTimerMs) closeAt(client, expiresAt);
      else client.socket.close(closeCode.badToken, "TOKEN_EXPIRED");
    },
    Math.min(left, maxTimerMs),
  );
}

export function send(socket: WebSocket, text: string): Promise<void> {
  if (socket.readyState !== socket.OPEN || isFlooded(socket)) return Promise.resolve();
  // A failure to send is followed by the socket's close.
  return new Promise((resolve) => socket.send(bounded(text), () => resolve()));
}

/** The message, or in its place that it would be too large. */
function bounded(text: string): string {
  if (Buffer.byteLength(text) <= maxAnswerBytes) return text;
  const { id, type } = JSON.parse(text) as { id: string; type: string };
  return JSON.stringify({ id, type, payload: { errors: [tooLargeAnswer()] } });
}

/** Whether it reads what we send. */
export function keepsUp(socket: WebSocket): boolean {
  return socket.bufferedAmount < congestedBytes;
}

/** Cuts off a client that makes us answer and does not read. */
export function isFlooded(socket: WebSocket): boolean {
  if (socket.bufferedAmount <= maxBufferedBytes) return false;
  socket.terminate();
  return true;
}
