import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { signToken } from "../../src/graphql/token.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addStore, addUser } from "../support/fixtures.ts";
import { jobsLeft, runJobs } from "../support/jobs.ts";
import { type Answer, type Api, secretKey, startApi } from "./api.ts";

const dismiss = `dismissInsight(input: {id: "${randomUUID()}"}) { insight { id } }`;
const clear = "mutation { clearInsights { deleted } }";
const refresh = "mutation { refreshInsights { refreshRequest { id } } }";

describe("mutation limits", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  async function owners(count: number) {
    const tienda = await addStore(db.pool);
    const users = await Promise.all(Array.from({ length: count }, () => addUser(db.pool, tienda)));
    return { tienda, users };
  }

  describe("the allowance", () => {
    const at = (seconds: number) => new Date(Date.UTC(2026, 0, 1) + seconds * 1000);
    /** Seconds to wait, as the API's role hears it. */
    const take = async (user: string, cost: number, limits: [number, number], seconds: number) => {
      const { rows } = await db
        .poolAs("nexus_server", 1)
        .query("select nexus_engine.take_mutations($1, $2, $3, $4, $5) as wait", [
          user,
          cost,
          ...limits,
          at(seconds),
        ]);
      return rows[0].wait;
    };

    it("is the limit at once, comes back evenly, and a refusal takes nothing of it", async () => {
      const { users } = await owners(1);
      const user = users[0] ?? "";
      // A limit that does not divide a minute: seven parts are still the whole.
      for (let n = 0; n < 7; n += 1) assert.equal(await take(user, 1, [7, 700], 0), 0);
      for (let n = 0; n < 20; n += 1) assert.equal(await take(user, 1, [7, 700], 0), 9);
      assert.equal(await take(user, 1, [7, 700], 8), 1);
      assert.equal(await take(user, 1, [7, 700], 8.6), 0);
      assert.equal(await take(user, 1, [7, 700], 8.6), 9);
      assert.equal(await take(user, 7, [7, 700], 20), 49);
      assert.equal(await take(user, 7, [7, 700], 69), 0);
    });

    it("is that of the store as well, and then nobody's own is touched", async () => {
      const { users } = await owners(2);
      const [a = "", b = ""] = users;
      const other = (await owners(1)).users[0] ?? "";
      assert.equal(await take(a, 6, [6, 10], 0), 0);
      assert.equal(await take(b, 5, [6, 10], 0), 6);
      assert.equal(await take(b, 4, [6, 10], 0), 0);
      assert.equal(await take(b, 1, [6, 10], 0), 6);
      assert.equal(await take(b, 2, [6, 10], 12), 0, "the refused calls took nothing");
      assert.equal(await take(other, 6, [6, 10], 0), 0);
    });

    it("makes nobody wait for another: who has used it up leaves the store's row alone", async () => {
      const { tienda, users } = await owners(2);
      const [greedy = "", idle = ""] = users;
      const stranger = (await owners(1)).users[0] ?? "";
      assert.equal(await take(greedy, 5, [5, 10], 0), 0);
      const holder = await db.pool.connect();
      try {
        await holder.query("begin");
        const { rowCount } = await holder.query(
          "select from nexus_engine.mutation_allowance where id = $1 for update",
          [tienda],
        );
        assert.equal(rowCount, 1);
        assert.equal(await take(greedy, 1, [5, 10], 0), 12);
        assert.equal(await take(stranger, 1, [5, 10], 0), 0);
        const waiting = take(idle, 1, [5, 10], 0);
        await holder.query("commit");
        assert.equal(await waiting, 0);
      } finally {
        holder.release();
      }
    });

    it("is taken once by each of many at the same time", async () => {
      const { users } = await owners(3);
      const server = db.poolAs("nexus_server", 10);
      const waits = await Promise.all(
        Array.from({ length: 90 }, async (_, n) => {
          const { rows } = await server.query(
            "select nexus_engine.take_mutations($1, 1, 20, 45, $2) as wait",
            [users[n % 3], at(1000)],
          );
          return rows[0].wait;
        }),
      );
      assert.equal(waits.filter((wait) => wait === 0).length, 45);
    });

    it("is forgotten once it is whole again", async () => {
      const { users } = await owners(1);
      await take(users[0] ?? "", 5, [5, 50], 0);
      const left = async () =>
        (
          await db.pool.query("select from nexus_engine.mutation_allowance where id = $1", [
            users[0],
          ])
        ).rowCount;
      const purge = (seconds: number) =>
        db
          .poolAs("nexus_worker", 1)
          .query("select nexus_engine.purge($1, interval '90 days', 1000)", [at(seconds)]);
      await purge(60);
      assert.equal(await left(), 1);
      await purge(121);
      assert.equal(await left(), 0);
    });
  });

  describe("over HTTP", () => {
    const mutationLimits = { user: 6, store: 10 };
    /** Two processes could not share less than these two servers do. */
    let apis: Api[];
    before(async () => {
      apis = [await startApi(db, { mutationLimits }), await startApi(db, { mutationLimits })];
    });
    after(() => Promise.all(apis.map((api) => api.close())));
    const ask = (server: 0 | 1, user: string | undefined, query: string) =>
      (apis[server] as Api).ask(user, query);
    const limited = (answer: Answer) => {
      assert.deepEqual([answer.status, answer.code, answer.data], [429, "RATE_LIMITED", null]);
      const wait = Number(answer.headers.get("retry-after"));
      assert.ok(wait > 0 && wait <= 60, String(wait));
      assert.equal(answer.errors[0]?.extensions?.retryAfter, wait);
      assert.match(answer.errors[0]?.message ?? "", new RegExp(`wait ${wait} seconds`));
    };

    it("hold over several servers, of a user and of a store", async () => {
      const { users } = await owners(2);
      const [a, b] = users;
      for (const n of [0, 1, 2, 3, 4, 5]) {
        assert.deepEqual((await ask((n % 2) as 0 | 1, a, clear)).errors, []);
      }
      limited(await ask(0, a, clear));
      limited(await ask(1, a, clear));
      for (let n = 0; n < 4; n += 1) assert.deepEqual((await ask(0, b, clear)).errors, []);
      limited(await ask(1, b, clear));
      const reading = await ask(0, a, "{ tienda { id } }");
      assert.deepEqual([reading.status, reading.headers.get("retry-after")], [200, null]);
    });

    it("count what fails when it runs, not what never ran", async () => {
      const user = (await owners(1)).users[0];
      for (let n = 0; n < 10; n += 1) {
        assert.equal((await ask(0, user, "mutation { nada }")).code, "BAD_USER_INPUT");
        const page = "insight { producto { insights(first: 101) { totalCount } } }";
        const tooLong = `mutation { dismissInsight(input: {id: "${randomUUID()}"}) { ${page} } }`;
        assert.equal((await ask(0, user, tooLong)).code, "BAD_USER_INPUT");
      }
      for (let n = 0; n < 6; n += 1) {
        assert.equal((await ask(0, user, `mutation { ${dismiss} }`)).code, "NOT_FOUND");
      }
      limited(await ask(0, user, `mutation { ${dismiss} }`));
    });

    it("count each alias, in fragments as well, and run all of a document or nothing", async () => {
      const { tienda, users } = await owners(1);
      const user = users[0];
      const aliases = (count: number) =>
        Array.from({ length: count }, (_, n) => `a${n}: ${dismiss}`).join(" ");
      const fifty = await ask(0, user, `mutation { ${aliases(50)} }`);
      assert.deepEqual([fifty.status, fifty.code], [400, "QUERY_TOO_COMPLEX"]);
      const inFragments = `mutation { ...F ... { ...F } } fragment F on Mutation { ${aliases(3)} ... { z: ${dismiss} } }`;
      assert.equal((await ask(0, user, inFragments)).code, "QUERY_TOO_COMPLEX");
      assert.equal((await ask(0, user, `mutation { ${aliases(6)} }`)).code, "NOT_FOUND");
      await db.pool.query(
        `insert into public.insights (id, tienda_id, tipo, mensaje, nivel_urgencia, is_active)
         values (gen_random_uuid(), $1, 'X', '', 'BAJA', false)`,
        [tienda],
      );
      limited(await ask(0, user, "mutation { clearInsights { deleted } }"));
      const { rowCount } = await db.pool.query("select from public.insights where tienda_id = $1", [
        tienda,
      ]);
      assert.equal(rowCount, 1, "what was refused did not run");
    });

    it("count the operation that runs, of a document with several", async () => {
      const user = (await owners(1)).users[0];
      const query = `query A { tienda { id } } mutation B { ${dismiss} }`;
      const authorization = `Bearer ${await signToken(user ?? "", secretKey, 60)}`;
      for (let n = 0; n < 10; n += 1) {
        const operationName = n < 4 ? "A" : "B";
        const body = JSON.stringify({ query, operationName });
        const { code } = await (apis[0] as Api).post(body, { authorization });
        assert.equal(code, n < 4 ? undefined : "NOT_FOUND");
      }
      limited(await ask(0, user, clear));
    });
  });

  it("keep a store that asks 1,000 times for a refresh from delaying another", async () => {
    const api = await startApi(db);
    try {
      await db.pool.query("delete from graphile_worker._private_jobs");
      const [greedy, modest] = [await owners(1), await owners(1)];
      const codes: Record<string, number> = {};
      await Promise.all(
        Array.from({ length: 10 }, async () => {
          for (let n = 0; n < 100; n += 1) {
            const { code = "none" } = await api.ask(greedy.users[0], refresh);
            codes[code] = (codes[code] ?? 0) + 1;
          }
        }),
      );
      assert.deepEqual(Object.keys(codes).sort(), ["RATE_LIMITED", "none"]);
      // 60 a minute, 5 a refresh: 12, and one more each 5 seconds that this took.
      assert.ok((codes["none"] ?? 0) >= 12 && (codes["none"] ?? 0) < 30, JSON.stringify(codes));
      assert.deepEqual((await api.ask(modest.users[0], refresh)).errors, []);
      const jobs = await jobsLeft(db.pool);
      assert.deepEqual(
        jobs.map(({ payload }) => payload["tiendas"]),
        [[greedy.tienda], [modest.tienda]],
      );
      await runJobs(db.poolAs("nexus_worker"));
      const { rows } = await db.pool.query(
        "select tienda_id, status from nexus_engine.refresh_request where tienda_id = any ($1)",
        [[greedy.tienda, modest.tienda]],
      );
      assert.equal(rows.length, 2);
      for (const { status } of rows) assert.equal(status, "succeeded");
    } finally {
      await api.close();
    }
  });
});
