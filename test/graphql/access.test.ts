import assert from "node:assert/strict";
import { createHmac, randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { secretKeys, signToken } from "../../src/graphql/token.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addStore, addUser } from "../support/fixtures.ts";
import { type Api, secretKey, startApi } from "./api.ts";
import { connect } from "./subscriber.ts";

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token made by hand, as any program could. */
function forge(
  header: object,
  claims: object,
  key: Uint8Array | undefined,
  hash = "sha256",
): string {
  const signed = `${encode(header)}.${encode(claims)}`;
  const signature = key ? createHmac(hash, key).update(signed).digest("base64url") : "";
  return `${signed}.${signature}`;
}

/** As python-jose makes them: the keys of the header in this order, exp a whole number. */
const posToken = (claims: object, key = secretKey) =>
  forge({ alg: "HS256", typ: "JWT" }, claims, key);

describe("access", () => {
  let db: TestDatabase;
  let api: Api;
  let tienda: string;
  let user: string;
  const inAnHour = () => Math.floor(Date.now() / 1000) + 3600;
  const body = JSON.stringify({ query: "{ tienda { id } }" });
  const asking = (authorization: string) => api.post(body, { authorization });
  const withToken = (token: string) => asking(`Bearer ${token}`);

  before(async () => {
    db = await createTestDatabase();
    api = await startApi(db);
    tienda = await addStore(db.pool);
    user = await addUser(db.pool, tienda);
  });
  after(async () => {
    await api.close();
    await db.drop();
  });

  it("is given to a token of the POS", async () => {
    const answer = await withToken(posToken({ sub: user, exp: inAnHour() }));
    assert.deepEqual([answer.status, answer.data], [200, { tienda: { id: tienda } }]);
  });

  it("is given to a token that we sign, whatever the case of the scheme", async () => {
    const answer = await asking(`bearer ${await signToken(user, secretKey, 60)}`);
    assert.equal(answer.data.tienda.id, tienda);
  });

  const refused: [string, (exp: number) => string][] = [
    ["no header", () => ""],
    ["another scheme", () => "Basic dTpw"],
    ["no token", () => "Bearer "],
    ["no JWT", () => "Bearer hola"],
    ["a wrong key", (exp) => `Bearer ${posToken({ sub: user, exp }, Buffer.alloc(40, 1))}`],
    ["no signature", (exp) => `Bearer ${forge({ alg: "HS256" }, { sub: user, exp }, undefined)}`],
    ["alg none", (exp) => `Bearer ${forge({ alg: "none" }, { sub: user, exp }, undefined)}`],
    [
      "alg none, signed",
      (exp) => `Bearer ${forge({ alg: "none" }, { sub: user, exp }, secretKey)}`,
    ],
    [
      "HS512",
      (exp) => `Bearer ${forge({ alg: "HS512" }, { sub: user, exp }, secretKey, "sha512")}`,
    ],
    ["no exp", () => `Bearer ${posToken({ sub: user })}`],
    ["an exp that is no number", () => `Bearer ${posToken({ sub: user, exp: "mañana" })}`],
    ["an exp after the year 3000", () => `Bearer ${posToken({ sub: user, exp: 1e300 })}`],
    ["an exp in milliseconds", (exp) => `Bearer ${posToken({ sub: user, exp: exp * 1000 })}`],
    ["an nbf in the future", (exp) => `Bearer ${posToken({ sub: user, exp, nbf: exp - 3580 })}`],
    ["an iat in the future", (exp) => `Bearer ${posToken({ sub: user, exp, iat: exp - 3580 })}`],
    ["an iat that is no number", (exp) => `Bearer ${posToken({ sub: user, exp, iat: "hoy" })}`],
    ["no sub", (exp) => `Bearer ${posToken({ exp })}`],
    ["a sub that is no id", (exp) => `Bearer ${posToken({ sub: "1' or '1'='1", exp })}`],
    ["a sub that is no text", (exp) => `Bearer ${posToken({ sub: 7, exp })}`],
    ["an unknown user", (exp) => `Bearer ${posToken({ sub: randomUUID(), exp })}`],
    [
      "a token that is expired and forged",
      () => `Bearer ${posToken({ sub: user, exp: 1 }, Buffer.alloc(40, 1))}`,
    ],
  ];
  for (const [name, header] of refused) {
    it(`is refused with 401 UNAUTHENTICATED: ${name}`, async () => {
      const answer = await asking(header(inAnHour()));
      assert.deepEqual([answer.status, answer.code, answer.data], [401, "UNAUTHENTICATED", null]);
      assert.equal(answer.headers.get("www-authenticate"), "Bearer");
    });
  }

  it("is refused with 401 TOKEN_EXPIRED once the token has expired", async () => {
    const answer = await withToken(posToken({ sub: user, exp: Math.floor(Date.now() / 1000) - 1 }));
    assert.deepEqual([answer.status, answer.code, answer.data], [401, "TOKEN_EXPIRED", null]);
  });

  it("is refused with 403 USER_INACTIVE or STORE_INACTIVE", async () => {
    const idle = await addUser(db.pool, tienda, { isActive: false });
    const closed = await addUser(db.pool, await addStore(db.pool, { isActive: false }));
    for (const [id, code] of [
      [idle, "USER_INACTIVE"],
      [closed, "STORE_INACTIVE"],
    ] as const) {
      const answer = await api.ask(id, "{ tienda { id } }");
      assert.deepEqual([answer.status, answer.code, answer.data], [403, code, null]);
    }
  });

  it("ends with the next request after a user is deactivated", async () => {
    const id = await addUser(db.pool, tienda);
    assert.equal((await api.ask(id, "{ tienda { id } }")).status, 200);
    await db.pool.query("update public.users set is_active = false where id = $1", [id]);
    assert.equal((await api.ask(id, "{ tienda { id } }")).code, "USER_INACTIVE");
  });

  it("is asked for introspection as well, and before a document is read", async () => {
    for (const query of ["{ __schema { types { name } } }", "{ no", "{ nada }"]) {
      assert.equal((await api.ask(undefined, query)).code, "UNAUTHENTICATED");
    }
  });

  it("accepts the key of before while it is given, over HTTP and WebSockets, and not after", async () => {
    const [old, fresh] = ["vieja".repeat(8), "nueva".repeat(8)];
    const exp = inAnHour();
    const signedBefore = posToken({ sub: user, exp }, Buffer.from(old));
    const signedNow = posToken({ sub: user, exp }, Buffer.from(fresh));
    for (const previous of [old, undefined]) {
      const server = await startApi(db, { secretKeys: secretKeys(fresh, previous) });
      const ask = (token: string) => server.post(body, { authorization: `Bearer ${token}` });
      const subscribe = async (token: string) => {
        const subscriber = await connect(server, { params: { authorization: `Bearer ${token}` } });
        const { next } = subscriber.subscribe("subscription { insightChanged { refetch } }");
        const first = await Promise.race([next().catch(() => {}), subscriber.closed]);
        subscriber.close();
        return first.code ?? "open";
      };
      try {
        assert.equal((await ask(signedNow)).status, 200);
        assert.equal(await subscribe(signedNow), "open");
        assert.equal((await ask(signedBefore)).code, previous ? undefined : "UNAUTHENTICATED");
        assert.equal(await subscribe(signedBefore), previous ? "open" : 4401);
        const expired = posToken({ sub: user, exp: 1 }, Buffer.from(old));
        assert.equal((await ask(expired)).code, previous ? "TOKEN_EXPIRED" : "UNAUTHENTICATED");
        assert.equal((await ask(posToken({ sub: user, exp }))).code, "UNAUTHENTICATED");
      } finally {
        await server.close();
      }
    }
  });

  it("looks at aud and iss where they are configured, over HTTP and WebSockets, and only there", async () => {
    const exp = inAnHour();
    const server = await startApi(db, {
      expectedClaims: { audience: "nexus-pos", issuer: "https://pos.example" },
    });
    const good = { sub: user, exp, aud: "nexus-pos", iss: "https://pos.example" };
    try {
      for (const [claims, status] of [
        [good, 200],
        [{ ...good, aud: ["otra", "nexus-pos"] }, 200],
        [{ ...good, aud: "otra" }, 401],
        [{ ...good, aud: undefined }, 401],
        [{ ...good, aud: 7 }, 401],
        [{ ...good, iss: "https://otro.example" }, 401],
        [{ ...good, iss: undefined }, 401],
      ] as const) {
        const token = posToken(claims);
        const answer = await server.post(body, { authorization: `Bearer ${token}` });
        assert.equal(answer.status, status, JSON.stringify(claims));
        assert.equal((await withToken(token)).status, 200, "not configured");
        const subscriber = await connect(server, { params: { authorization: `Bearer ${token}` } });
        const { next } = subscriber.subscribe("subscription { insightChanged { refetch } }");
        const first = await Promise.race([next().catch(() => {}), subscriber.closed]);
        subscriber.close();
        assert.equal(first.code, status === 200 ? undefined : 4401, JSON.stringify(claims));
      }
      const own = await signToken(user, secretKey, 60, {
        audience: "nexus-pos",
        issuer: "https://pos.example",
      });
      assert.equal((await server.post(body, { authorization: `Bearer ${own}` })).status, 200);
    } finally {
      await server.close();
    }
  });

  it("bears with a clock of the POS that is some seconds ahead", async () => {
    const soon = Math.floor(Date.now() / 1000) + 4;
    const token = posToken({ sub: user, exp: inAnHour(), nbf: soon, iat: soon });
    assert.equal((await withToken(token)).status, 200);
  });

  it("gives the server's own role nothing but the check of a user", async () => {
    const denied = { code: "42501" };
    for (const query of [
      "select * from public.users",
      "select * from public.insights",
      "select * from nexus_api.insights",
      "select * from nexus_engine.store_settings",
      "select nexus_api.insight_stats()",
      "select nexus_engine.request_refresh(gen_random_uuid())",
      "select graphile_worker.add_job('purge')",
    ]) {
      await assert.rejects(api.pool.query(query), denied, query);
    }
    const { rows } = await api.pool.query("select * from nexus_engine.authenticate($1)", [user]);
    assert.deepEqual(rows, [
      {
        user_exists: true,
        user_active: true,
        store_exists: true,
        store_active: true,
        is_operator: false,
      },
    ]);
  });

  it("gives the role of a request no table, and no rows without an active user", async () => {
    const idle = await addUser(db.pool, tienda, { isActive: false });
    const closed = await addUser(db.pool, await addStore(db.pool, { isActive: false }));
    const client = await api.pool.connect();
    try {
      await client.query("set role nexus_tienda");
      for (const query of [
        "select * from public.insights",
        "select * from public.users",
        "select * from nexus_engine.refresh_request",
        "update nexus_api.insights set is_active = false",
        "delete from nexus_api.insights",
        "select nexus_engine.reconcile(null, null, now())",
        "create table nexus_api.t ()",
      ]) {
        await assert.rejects(client.query(query), { code: "42501" }, query);
      }
      for (const setting of ["", randomUUID(), idle, closed]) {
        await client.query("select set_config('nexus.user_id', $1, false)", [setting]);
        assert.equal((await client.query("select * from nexus_api.tiendas")).rowCount, 0);
        await assert.rejects(client.query("select nexus_api.insight_stats()"), { code: "NX003" });
      }
    } finally {
      client.release(true);
    }
  });
});
