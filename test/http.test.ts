import assert from "node:assert/strict";
import { Agent, request } from "node:http";
import { after, before, describe, it } from "node:test";
import type { Pool } from "pg";
import { signToken } from "../src/graphql/token.ts";
import { createHealth } from "../src/health.ts";
import { type HttpOptions, startHttp } from "../src/http.ts";
import { createLog } from "../src/log.ts";
import { createTestDatabase, type TestDatabase } from "./support/database.ts";
import { addStore, addUser } from "./support/fixtures.ts";

const key = new TextEncoder().encode("una-clave-de-prueba-con-mas-de-32-bytes");

describe("the HTTP server", () => {
  let db: TestDatabase;
  let pool: Pool;
  let ready: () => Promise<boolean>;
  let url: string;
  let close: () => Promise<void>;
  const start = (options: Partial<HttpOptions> = {}) =>
    startHttp({
      host: "127.0.0.1",
      port: 0,
      nextFreePort: false,
      environment: "production",
      secretKeys: [key],
      pool,
      statementTimeoutMs: 10_000,
      log: createLog("silent"),
      isReady: () => ready(),
      ...options,
    });
  const get = (path: string, headers: Record<string, string> = {}) =>
    fetch(url + path, { headers });

  before(async () => {
    db = await createTestDatabase();
    pool = db.poolAs("nexus_server", 3);
    ready = async () => true;
    ({ url, close } = await start());
  });
  after(async () => {
    await close();
    await db.drop();
  });

  it("says that it is alive without asking the database", async () => {
    const clients = await Promise.all([pool.connect(), pool.connect(), pool.connect()]);
    try {
      const response = await get("/health/live?x=1");
      assert.deepEqual([response.status, await response.json()], [200, { status: "ok" }]);
    } finally {
      for (const client of clients) client.release();
    }
  });

  it("says whether it is ready", async () => {
    for (const [answer, status] of [
      [async () => true, 200],
      [async () => false, 503],
      [() => Promise.reject(new Error("no database")), 503],
    ] as const) {
      ready = answer;
      const response = await get("/health/ready");
      assert.equal(response.status, status);
      assert.deepEqual(
        await response.json(),
        status === 200
          ? { status: "ok" }
          : { status: "unavailable", problems: ["the database does not take writes"] },
      );
    }
  });

  it("says what its worker cannot do, and what a person should know", async () => {
    let ms = 0;
    const health = createHealth(() => ms);
    const server = await start({ health, isReady: async () => true });
    const ask = async () => {
      const response = await fetch(`${server.url}/health/ready`);
      return [response.status, await response.json()];
    };
    try {
      assert.deepEqual(await ask(), [200, { status: "ok" }]);
      health.warn("clock", "the clock is wrong");
      assert.deepEqual(await ask(), [200, { status: "ok", warnings: ["the clock is wrong"] }]);
      health.failed("the drain", Object.assign(new Error("geheim"), { code: "40001" }));
      ms = 31_000;
      assert.deepEqual(await ask(), [
        503,
        {
          status: "unavailable",
          problems: ["the drain has failed for 31 s, last with 40001"],
          warnings: ["the clock is wrong"],
        },
      ]);
    } finally {
      await server.close();
    }
  });

  it("answers other paths with 404, and other methods with 404 or 405, in JSON", async () => {
    for (const [method, path, status] of [
      ["GET", "/", 404],
      ["GET", "/nada", 404],
      ["GET", "/health", 404],
      ["GET", "/ruru-static/ruru.js", 404],
      ["POST", "/health/live", 404],
      ["GET", "/graphql?query={tienda{id}}", 405],
      ["OPTIONS", "/graphql", 405],
    ] as const) {
      const response = await fetch(url + path, { method });
      assert.equal(response.status, status, `${method} ${path}`);
      assert.match(response.headers.get("content-type") ?? "", /json/);
      await response.json();
    }
  });

  it("sends the headers that keep browsers from doing more than they should", async () => {
    for (const path of ["/health/live", "/graphql", "/nada"]) {
      const { headers } = await get(path, { origin: "https://otra.example" });
      assert.equal(headers.get("x-content-type-options"), "nosniff");
      assert.equal(headers.get("x-frame-options"), "DENY");
      assert.equal(headers.get("referrer-policy"), "no-referrer");
      assert.equal(headers.get("cache-control"), "no-store");
      assert.match(headers.get("content-security-policy") ?? "", /default-src 'none'/);
      assert.equal(headers.get("access-control-allow-origin"), null);
    }
  });

  it("gives each request an id, the caller's own if it can be logged", async () => {
    const id = async (given?: string) =>
      (await get("/health/live", given ? { "x-request-id": given } : {})).headers.get(
        "x-request-id",
      );
    assert.equal(await id("pos-1234.ab_CD"), "pos-1234.ab_CD");
    for (const given of [undefined, "corto", "con espacio y más", "x".repeat(65)]) {
      assert.match(
        (await id(given && encodeURI(given).slice(0, given.length))) ?? "",
        /^[0-9a-f-]{36}$/,
      );
    }
    assert.notEqual(await id(), await id());
  });

  it("shows the IDE in development only", async () => {
    const development = await start({ environment: "development" });
    try {
      const response = await fetch(`${development.url}/`);
      assert.equal(response.status, 200);
      assert.match(await response.text(), /<html/i);
      assert.equal(response.headers.get("content-security-policy"), null);
    } finally {
      await development.close();
    }
  });

  it("takes the next free port only when it may", async () => {
    const taken = Number(new URL(url).port);
    await assert.rejects(start({ port: taken }), { code: "EADDRINUSE" });
    const next = await start({ port: taken, nextFreePort: true });
    const port = Number(new URL(next.url).port);
    await next.close();
    assert.ok(port > taken && port < taken + 20);
  });

  it("does not start without a schema to serve", async () => {
    const broken = db.poolAs("nexus_server", 1);
    await broken.end();
    await assert.rejects(start({ pool: broken }));
  });

  it("masks a fault before it knows who asks, and lives on", async () => {
    const broken = db.poolAs("nexus_server", 1);
    const server = await start({ pool: broken });
    await broken.end();
    const token = await signToken(crypto.randomUUID(), key, 60);
    const response = await fetch(`${server.url}/graphql`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
      body: JSON.stringify({ query: "{ tienda { id } }" }),
    });
    const { errors } = (await response.json()) as { errors: { extensions: { code: string } }[] };
    assert.deepEqual([response.status, errors[0]?.extensions.code], [500, "INTERNAL"]);
    assert.equal((await fetch(`${server.url}/health/live`)).status, 200);
    await server.close();
  });

  it("answers what it has begun, ends idle connections, and leaves the pool open", async () => {
    await db.pool.query(
      "create function nexus_api.lenta() returns int language sql stable as 'select 7 from pg_catalog.pg_sleep(0.4)'",
    );
    await db.pool.query("grant execute on function nexus_api.lenta() to nexus_tienda");
    const user = await addUser(db.pool, await addStore(db.pool));
    const server = await start();
    const agent = new Agent({ keepAlive: true, maxSockets: 2 });
    const send = async (method: string, path: string, body?: string) => {
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      const headers = {
        "content-type": "application/json",
        authorization: `Bearer ${await signToken(user, key, 60)}`,
      };
      request(server.url + path, { method, agent, headers }, (response) => {
        let text = "";
        response.on("data", (chunk) => {
          text += chunk;
        });
        response.on("end", () => resolve(text));
      })
        .on("error", reject)
        .end(body);
      return { answer: promise };
    };
    await (await send("GET", "/health/live")).answer;
    const slow = await send("POST", "/graphql", JSON.stringify({ query: "{ lenta }" }));
    while (pool.idleCount === pool.totalCount) await new Promise((done) => setTimeout(done, 5));
    await server.close();
    assert.deepEqual(JSON.parse(await slow.answer), { data: { lenta: 7 } });
    await assert.rejects(fetch(`${server.url}/health/live`));
    assert.equal(pool.waitingCount, 0);
    assert.equal(pool.idleCount, pool.totalCount);
    await pool.query("select 1");
    agent.destroy();
  });
});
