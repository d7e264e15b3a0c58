import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { signToken } from "../src/graphql/token.ts";
import { type HttpOptions, type HttpServer, startHttp } from "../src/http.ts";
import { createLog } from "../src/log.ts";
import { secretKey } from "./graphql/api.ts";
import { createTestDatabase, type TestDatabase } from "./support/database.ts";
import { addStore, addUser } from "./support/fixtures.ts";

const requestLimits = { headersTimeout: 300, requestTimeout: 600, connectionsCheckingInterval: 50 };
const query = JSON.stringify({ query: "{ tienda { id } }" });

describe("the HTTP server under attack", () => {
  let db: TestDatabase;
  let options: HttpOptions;
  let server: HttpServer;
  let tienda: string;
  let authorization: string;
  let readiness = 0;
  before(async () => {
    db = await createTestDatabase();
    tienda = await addStore(db.pool);
    const user = await addUser(db.pool, tienda);
    authorization = `Bearer ${await signToken(user, secretKey, 600)}`;
    options = {
      host: "127.0.0.1",
      port: 0,
      nextFreePort: false,
      environment: "production",
      secretKeys: [secretKey],
      pool: db.poolAs("nexus_server", 3),
      statementTimeoutMs: 10_000,
      log: createLog("silent"),
      isReady: async () => {
        readiness += 1;
        await sleep(50);
        return true;
      },
      requestLimits,
    };
    server = await startHttp(options);
  });
  after(async () => {
    await server.close();
    await db.drop();
  });

  /** What comes back for these bytes until the server closes, or has said nothing for a second. */
  async function raw(...parts: (string | number)[]): Promise<string> {
    const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
    socket.setTimeout(1000, () => socket.destroy());
    socket.on("error", () => {});
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk;
    });
    const closed = new Promise((resolve) => socket.once("close", resolve));
    for (const part of parts) {
      if (typeof part === "number") await sleep(part);
      else socket.write(part);
    }
    await closed;
    return text;
  }
  const post = (headers: Record<string, string>, body: string | Uint8Array = query) =>
    fetch(`${server.url}/graphql`, {
      method: "POST",
      headers: { authorization, "content-type": "application/json", ...headers },
      body: body as string,
    });
  const request = (body: string) =>
    `POST /graphql HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  const upgrade = (path: string, more = "") =>
    `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n${more}\r\n`;

  it("sends its headers and a code with every answer, also with those that Node makes", async () => {
    const large = `x-large: ${"x".repeat(17_000)}`;
    const json = (length: number) =>
      `POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`;
    for (const [status, code, bytes] of [
      [400, "BAD_USER_INPUT", "hola\r\n\r\n"],
      [404, "NOT_FOUND", "GET / HTTP/1.1\r\nconnection: close\r\n\r\n"],
      [
        417,
        "BAD_USER_INPUT",
        "GET / HTTP/1.1\r\nhost: x\r\nexpect: todo\r\nconnection: close\r\n\r\n",
      ],
      [400, "BAD_USER_INPUT", "GET /\u0000 HTTP/1.1\r\nhost: x\r\n\r\n"],
      [400, "BAD_USER_INPUT", "\x16\x03\x01\x02\x00\x01\x00"],
      [400, "BAD_USER_INPUT", request(query).replace("content-length", "content-length: 5\r\nx")],
      [
        400,
        "BAD_USER_INPUT",
        `${json(5).replace("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n")}0\r\n\r\n`,
      ],
      [431, "BAD_USER_INPUT", `GET / HTTP/1.1\r\nhost: x\r\n${large}\r\n\r\n`],
      [408, "TIMEOUT", "GET / HTTP/1.1\r\nhost:"],
      [408, "TIMEOUT", `${json(50)}{`],
      [413, "BAD_USER_INPUT", `${json(100_001)}{`],
      [400, "BAD_USER_INPUT", upgrade("/graphql")],
      [400, "BAD_USER_INPUT", upgrade("/graphql", "sec-websocket-key: x\r\n")],
      [404, "NOT_FOUND", upgrade("/otra")],
      [403, "FORBIDDEN", upgrade("/graphql", "origin: https://otra.example\r\n")],
      [404, "NOT_FOUND", "GET /%2e%2e/%00 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"],
      [404, "NOT_FOUND", "GET //graphql HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"],
      [404, "NOT_FOUND", "GET http://otra/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"],
      [404, "NOT_FOUND", "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"],
      [404, "NOT_FOUND", "TRACE / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"],
      [405, "BAD_USER_INPUT", "PUT /graphql HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"],
    ] as const) {
      const answer = await raw(bytes);
      const shown = JSON.stringify([bytes.slice(0, 60), answer]);
      assert.match(answer, new RegExp(`^HTTP/1.1 ${status} [A-Z]`), shown);
      assert.match(answer, new RegExp(`"${code}"`), shown);
      for (const header of [
        "x-content-type-options: nosniff",
        "x-frame-options: DENY",
        "referrer-policy: no-referrer",
        "cross-origin-resource-policy: same-origin",
        "cache-control: no-store",
        "content-security-policy: default-src 'none'",
        "content-type: application/json",
      ]) {
        assert.ok(answer.toLowerCase().includes(header.toLowerCase()), `${header} in ${shown}`);
      }
    }
  });

  it("closes slow connections, and goes on serving meanwhile", async () => {
    const slow = Array.from({ length: 100 }, () => raw("GET / HTTP/1.1\r\n", 100, "x: y\r\n"));
    assert.equal((await post({})).status, 200);
    for (const answer of await Promise.all(slow)) assert.match(answer, /^HTTP\/1.1 408 /);
    assert.equal((await post({})).status, 200);
  });

  it("answers requests that come in one piece, in their order, and no other after a bad one", async () => {
    const bodies = Array.from({ length: 50 }, (_, n) => `{"query":"{ a${n}: tienda { id } }"}`);
    const answers = await raw(bodies.map(request).join(""));
    assert.deepEqual(
      [...answers.matchAll(/"data":\{"(a\d+)"/g)].map((match) => match[1]),
      bodies.map((_, n) => `a${n}`),
    );
    const spoilt = await raw(`${request(bodies[0] ?? "")}hola\r\n\r\n`);
    assert.match(spoilt, /^HTTP\/1\.1 200 .*"a0":\{"id":"[0-9a-f-]{36}"\}\}\}$/s);
  });

  it("takes JSON in UTF-8 that is not compressed, and no form that a page could send", async () => {
    const invalid = Buffer.concat([
      Buffer.from('{"query":"{ tienda { id } } #'),
      Buffer.from([0xff, 0xfe, 0xc0, 0x80]),
      Buffer.from('"}'),
    ]);
    for (const [status, headers, body] of [
      [200, { "content-type": "Application/JSON; charset=utf-8" }, query],
      [200, { "content-encoding": "identity" }, query],
      [200, {}, `\ufeff${query}`],
      [415, { "content-encoding": "gzip" }, gzipSync(query)],
      [415, { "content-encoding": "br" }, query],
      [415, { "content-type": "text/plain" }, query],
      [415, { "content-type": "application/x-www-form-urlencoded" }, "query={tienda{id}}"],
      [415, { "content-type": "multipart/form-data; boundary=x" }, "--x--"],
      [415, { "content-type": "application/graphql" }, "{ tienda { id } }"],
      [415, { "content-type": "application/json, text/plain" }, query],
      [400, {}, invalid],
      [400, {}, `[${query},${query}]`],
      [400, {}, `${query}${query}`],
      [400, {}, '{"query":"{ __typename }","operationName":7}'],
      [400, {}, '{"query":"{ __typename }","variables":"{}"}'],
      [400, {}, '{"query":"{ __typename }","variables":[]}'],
      [400, {}, '{"query":"{ __typename }","extensions":1}'],
      [400, {}, '{"query":"{ __typename }","onError":"NULL"}'],
      [406, { accept: "text/html" }, query],
    ] as const) {
      const response = await post(headers, body);
      const answer = (await response.json()) as { errors?: { extensions?: { code?: string } }[] };
      const shown = JSON.stringify([headers, String(body).slice(0, 60), answer]);
      assert.equal(response.status, status, shown);
      if (status !== 200)
        assert.equal(answer.errors?.[0]?.extensions?.code, "BAD_USER_INPUT", shown);
    }
  });

  it("runs nothing that comes by GET", async () => {
    const mutation = encodeURIComponent("mutation { refreshInsights { refreshRequest { id } } }");
    for (const method of ["GET", "HEAD", "PUT", "DELETE", "PATCH"]) {
      const response = await fetch(`${server.url}/graphql?query=${mutation}`, {
        method,
        headers: { authorization },
      });
      assert.deepEqual([response.status, response.headers.get("allow")], [405, "POST"], method);
    }
    const { rowCount } = await db.pool.query(
      "select from nexus_engine.refresh_request where tienda_id = $1",
      [tienda],
    );
    assert.equal(rowCount, 0);
  });

  it("asks the database once when many ask whether it is ready", async () => {
    readiness = 0;
    const ready = () => fetch(`${server.url}/health/ready`);
    const answers = await Promise.all(Array.from({ length: 20 }, ready));
    assert.ok(answers.every(({ status }) => status === 200));
    assert.ok(readiness < 10, String(readiness));
    readiness = 0;
    await ready();
    assert.equal(readiness, 1, "and asks again");
  });

  it("closes what it has answered for good, also when the client keeps its half open", async () => {
    const own = await startHttp({ ...options, pool: db.poolAs("nexus_server", 3) });
    const sockets = [
      upgrade("/otra"),
      upgrade("/graphql", "origin: https://otra.example\r\n"),
      upgrade("/graphql"),
      "hola\r\n\r\n",
      "GET / HTTP/1.1\r\nhost:",
      `${request("x".repeat(90_000)).slice(0, -1)}`,
    ].map((bytes) => {
      const port = Number(new URL(own.url).port);
      const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      socket.on("error", () => {});
      socket.write(bytes);
      return socket;
    });
    const answers = await Promise.all(
      sockets.map(async (socket) => {
        let text = "";
        for await (const chunk of socket.iterator({ destroyOnReturn: false })) text += chunk;
        return text.split(" ", 2)[1];
      }),
    );
    assert.deepEqual(answers, ["404", "403", "400", "400", "408", "408"]);
    const closed = await Promise.race([own.close().then(() => true), sleep(4_000, false)]);
    for (const socket of sockets) socket.destroy();
    assert.ok(closed, "the server cannot close");
  });

  it("survives a client that resets the connection it wanted for a WebSocket", async () => {
    for (const more of ["origin: https://otra.example\r\n", ""]) {
      for (let n = 0; n < 20; n += 1) {
        const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
        socket.on("error", () => {});
        socket.write(upgrade("/graphql", more));
        if (n % 2) await once(socket, "data");
        socket.write("x".repeat(100_000));
        socket.resetAndDestroy();
      }
    }
    await sleep(50);
    assert.equal((await post({})).status, 200);
  });
});
