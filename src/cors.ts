import type { IncomingMessage, ServerResponse } from "node:http";

/** Preflights may be remembered so long; browsers cap it themselves. */
const maxAgeSeconds = 3600;

export type Cors = {
  /**
   * Lets pages of the listed origins read the answer. Answers a preflight of theirs itself and
   * returns true. Credentials are never allowed: the token is a header, there are no cookies.
   */
  handle(req: IncomingMessage, res: ServerResponse): boolean;
  /**
   * Whether a WebSocket may be opened from where the request says that it comes from: a listed origin,
   * the server's own, or no page at all. Browsers ask for no permission before they open one.
   */
  allowsUpgrade(req: IncomingMessage): boolean;
};

export function makeCors(origins: readonly string[]): Cors {
  const listed = new Set(origins);
  return {
    handle(req, res) {
      if (listed.size === 0) return false;
      // Answers differ by origin, also those to requests that have none.
      res.setHeader("vary", "Origin");
      const { origin } = req.headers;
      if (!origin || !listed.has(origin)) return false;
      res.setHeader("access-control-allow-origin", origin);
      res.setHeader("access-control-expose-headers", "x-request-id, retry-after, www-authenticate");
      if (req.method !== "OPTIONS" || !req.headers["access-control-request-method"]) return false;
      res.setHeader("access-control-allow-methods", "POST");
      res.setHeader("access-control-allow-headers", "authorization, content-type, x-request-id");
      res.setHeader("access-control-max-age", maxAgeSeconds);
      res.writeHead(204).end();
      return true;
    },

    allowsUpgrade({ headers: { origin, host } }) {
      if (origin === undefined || listed.has(origin)) return true;
      return URL.canParse(origin) && new URL(origin).host === host?.toLowerCase();
    },
  };
}
