import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { signToken } from "../src/graphql/token.ts";
import { type Api, secretKey, startApi } from "./graphql/api.ts";
import { connect } from "./graphql/subscriber.ts";
import { createTestDatabase, type TestDatabase } from "./support/database.ts";
import { addStore, addUser } from "./support/fixtures.ts";

const app = "https://pos.example";
const near = ["https://pos.example.evil.test", "http://pos.example", "https://POS.example", "null"];

describe("pages of other origins", () => {
  let db: TestDatabase;
  let open: Api;
  let closed: Api;
  let token: string;
  before(async () => {
    db = await createTestDatabase();
    open = await startApi(db, { corsOrigins: [app, "http://localhost:5173"] });
    closed = await startApi(db);
    const user = await addUser(db.pool, await addStore(db.pool));
    token = `Bearer ${await signToken(user, secretKey, 60)}`;
  });
  after(async () => {
    await open.close();
    await closed.close();
    await db.drop();
  });

  const corsHeaders = (headers: Headers) =>
    Object.fromEntries(
      [...headers].filter(([name]) => name.startsWith("access-control-") || name === "vary"),
    );
  const preflight = (api: Api, origin: string, path = "/graphql") =>
    fetch(api.url + path, {
      method: "OPTIONS",
      headers: {
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
      },
    });
  const query = (api: Api, origin: string | undefined, authorization = token) =>
    api.post('{"query": "{ tienda { nombre } }"}', {
      authorization,
      ...(origin && { origin }),
    });

  it("may ask when their origin is listed, exactly", async () => {
    for (const origin of [app, "http://localhost:5173"]) {
      const response = await preflight(open, origin);
      assert.equal(response.status, 204);
      assert.deepEqual(corsHeaders(response.headers), {
        "access-control-allow-headers": "authorization, content-type, x-request-id",
        "access-control-allow-methods": "POST",
        "access-control-allow-origin": origin,
        "access-control-expose-headers": "x-request-id, retry-after, www-authenticate",
        "access-control-max-age": "3600",
        vary: "Origin",
      });
      for (const [authorization, status] of [
        [token, 200],
        ["Bearer x", 401],
      ] as const) {
        const answer = await query(open, origin, authorization);
        assert.equal(answer.status, status);
        assert.equal(answer.headers.get("access-control-allow-origin"), origin);
        assert.equal(answer.headers.get("access-control-allow-credentials"), null);
      }
    }
  });

  it("may not read an answer otherwise, and get no permission to ask", async () => {
    for (const origin of near) {
      const response = await preflight(open, origin);
      assert.equal(response.status, 405);
      assert.deepEqual(corsHeaders(response.headers), { vary: "Origin" });
      assert.deepEqual(corsHeaders((await query(open, origin)).headers), { vary: "Origin" });
    }
    assert.deepEqual(corsHeaders((await query(open, undefined)).headers), { vary: "Origin" });
  });

  it("are all closed out unless some are listed, and from all but /graphql", async () => {
    for (const origin of [app, ...near, "*"]) {
      assert.equal((await preflight(closed, origin)).status, 405);
      assert.deepEqual(corsHeaders((await query(closed, origin)).headers), {});
    }
    const health = await fetch(`${open.url}/health/live`, { headers: { origin: app } });
    assert.deepEqual(corsHeaders(health.headers), {});
    assert.equal((await preflight(open, app, "/health/live")).status, 404);
  });

  it("may subscribe under the same rule; programs without an origin, and our own pages, may as well", async () => {
    const subscribe = async (api: Api, origin: string | undefined) => {
      const subscriber = await connect(api, {
        params: { authorization: token },
        headers: origin === undefined ? {} : { origin },
      });
      const { received, next, stop } = subscriber.subscribe(
        "subscription { insightChanged { refetch } }",
      );
      const first = await Promise.race([next().catch(() => "none"), subscriber.closed]);
      stop();
      subscriber.close();
      return received.length > 0 ? "open" : (first as { code: number }).code;
    };
    const own = closed.url;
    for (const [api, origin, outcome] of [
      [open, app, "open"],
      [open, undefined, "open"],
      [open, near[0], 1006],
      [open, "null", 1006],
      [closed, app, 1006],
      [closed, own, "open"],
      [closed, own.replace(/\d+$/, "1"), 1006],
      [closed, undefined, "open"],
    ] as const) {
      assert.equal(await subscribe(api, origin), outcome, `${origin}`);
    }
  });
});
