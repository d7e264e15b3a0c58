import { type ServerResponse, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import type { ErrorCode } from "./errors.ts";

/** What every answer has. HTTPS, and with it HSTS, is the proxy's in front of us. */
const always = {
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
};
const notHtml = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
};

export function setHeaders(res: ServerResponse, requestId: string, html: boolean): void {
  const headers = { "x-request-id": requestId, ...always, ...(html ? {} : notHtml) };
  for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
}

export function sendJson(res: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  res.writeHead(status, {
    "content-type": "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(text),
  });
  res.end(text);
}

/** Such as GraphQL's own answers are: for requests that do not get as far. */
export const graphqlError = (code: ErrorCode, message: string, more: object = {}) => ({
  errors: [{ message, extensions: { code, ...more } }],
});

/** An error for a socket that has no response: one that speaks no HTTP, or wants a WebSocket. */
export function endSocket(socket: Duplex, status: number, code: ErrorCode): void {
  const text = JSON.stringify({ error: code });
  const headers = {
    connection: "close",
    "content-type": "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(text),
    ...always,
    ...notHtml,
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  closeSocket(socket, `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join("")}\r\n${text}`);
}

/** How long a client may take to read the last answer and to close its half of the connection. */
const lingerMs = 1_000;

/**
 * Says this, ends the connection, and sees to it that it is closed: Node's HTTP server would leave the
 * other half open for as long as the client does, and not close itself either.
 */
export function closeSocket(socket: Duplex, lastWords?: string): void {
  // Nobody else listens on the socket of an upgrade; an error that nobody hears ends the process.
  socket.on("error", () => {});
  const limit = setTimeout(() => socket.destroy(), lingerMs);
  socket.once("close", () => clearTimeout(limit));
  socket.end(lastWords);
  // What was sent and not read would make the system reset the connection, and the client lose the
  // answer; and without reading, nobody notices that the client has closed its half.
  socket.resume();
}
