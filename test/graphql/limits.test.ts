import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { getIntrospectionQuery, parse } from "graphql";
import { pino } from "pino";
import { execute } from "postgraphile/grafast";
import { limitPlanCache } from "../../src/graphql/document-limits.ts";
import { buildSchema } from "../../src/graphql/server.ts";
import { signToken } from "../../src/graphql/token.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addStore, addUser } from "../support/fixtures.ts";
import { type Answer, type Api, secretKey, startApi } from "./api.ts";

describe("limits", () => {
  let db: TestDatabase;
  let api: Api;
  let user: string;
  const logged: Record<string, unknown>[] = [];

  before(async () => {
    db = await createTestDatabase();
    for (const [name, body] of [
      ["lenta", "select pg_catalog.pg_sleep(30)::text"],
      ["pausa", "select pg_catalog.pg_sleep(0.04)::text"],
      ["rota", "select (1 / (length('secreto interno') - 15))::text"],
    ]) {
      await db.pool.query(
        `create function nexus_api.${name}() returns text language sql stable as $$ ${body} $$`,
      );
      await db.pool.query(`grant execute on function nexus_api.${name}() to nexus_tienda`);
    }
    await db.pool.query(
      `create function nexus_api.espera(n int) returns text language sql stable
         as 'select pg_catalog.pg_sleep(0.1)::text || n';
       grant execute on function nexus_api.espera(int) to nexus_tienda`,
    );
    const log = pino(
      new Writable({
        write(line, _encoding, done) {
          logged.push(JSON.parse(String(line)));
          done();
        },
      }),
    );
    api = await startApi(db, { log, statementTimeoutMs: 300 });
    user = await addUser(db.pool, await addStore(db.pool));
  });
  after(async () => {
    await api.close();
    await db.drop();
  });

  const ask = (query: string, variables?: Record<string, unknown>) =>
    api.ask(user, query, variables);
  const refused = (answer: Answer, code: string, status = 400) =>
    assert.deepEqual(
      [answer.status, answer.code, answer.data],
      [status, code, null],
      answer.errors[0]?.message,
    );
  const accepted = (answer: Answer) => assert.deepEqual(answer.errors, []);

  describe("of the body", () => {
    it("are 100 kB of JSON with a query", async () => {
      const long = (bytes: number) => {
        const body = JSON.stringify({ query: "{ tienda { nombre } } #" });
        return body.replace("#", `#${"x".repeat(bytes - body.length)}`);
      };
      const json = { "content-type": "application/json" };
      // Answered only once the body is accepted.
      refused(await api.post(long(100_000), json), "UNAUTHENTICATED", 401);
      refused(await api.post(long(100_001), json), "BAD_USER_INPUT", 413);
      refused(await api.post(long(5_000_000), json), "BAD_USER_INPUT", 413);
      refused(
        await api.post("query=x", { "content-type": "application/x-www-form-urlencoded" }),
        "BAD_USER_INPUT",
        415,
      );
      for (const body of ["", "{", "null", "[]", "{}", '{"query": 7}']) {
        refused(await api.post(body, json), "BAD_USER_INPUT");
      }
    });
  });

  describe("of a document", () => {
    const deep = (levels: number) => {
      const names = ["insights", "nodes", "producto"];
      let query = "id";
      for (let level = levels - 2; level >= 0; level -= 1) {
        const name = names[level % 3];
        query = `${name}${name === "insights" ? "(first: 1)" : ""} { ${query} }`;
      }
      return query;
    };

    it("are 12 levels", async () => {
      accepted(await ask(`{ ${deep(12)} }`));
      refused(await ask(`{ ${deep(13)} }`), "QUERY_TOO_COMPLEX");
    });

    it("see through fragments, which add no level of their own", async () => {
      accepted(await ask(`{ ... { ...F } } fragment F on Query { ... { ${deep(12)} } }`));
      refused(
        await ask(
          `{ insights { nodes { ...F } } } fragment F on Insight { producto { ${deep(10)} } }`,
        ),
        "QUERY_TOO_COMPLEX",
      );
    });

    const fields = (count: number) =>
      Array.from({ length: count }, (_, n) => `a${n}: __typename`).join(" ");

    it("are 500 fields, each alias counted", async () => {
      accepted(await ask(`{ ${fields(500)} }`));
      refused(await ask(`{ ${fields(501)} }`), "QUERY_TOO_COMPLEX");
    });

    it("count the fields of a fragment as often as it is used", async () => {
      const fragment = `fragment F on Tienda { ${fields(124)} }`;
      const spread = (times: number) =>
        Array.from({ length: times }, (_, n) => `t${n}: tienda { ...F }`).join(" ");
      accepted(await ask(`{ ${spread(4)} } ${fragment}`));
      refused(await ask(`{ ${spread(5)} } ${fragment}`), "QUERY_TOO_COMPLEX");
    });

    it("are 100 fields with fields below them, however deep", async () => {
      const objects = (count: number) =>
        Array.from({ length: count }, (_, n) => `a${n}: tienda { id }`).join(" ");
      accepted(await ask(`{ ${objects(100)} }`));
      refused(await ask(`{ ${objects(101)} }`), "QUERY_TOO_COMPLEX");
      const nested = Array.from(
        { length: 26 },
        (_, n) => `b${n}: insights(first: 1) { nodes { producto { ...F } } }`,
      ).join(" ");
      const fragment = "fragment F on Producto { insights(first: 1) { totalCount } }";
      refused(await ask(`{ ${nested} } ${fragment}`), "QUERY_TOO_COMPLEX");
    });

    it("are 3,000 words and signs, of directives and values as well", async () => {
      const ten = (n: number) => `a${n}: __typename @include(if: true)`;
      const words = (count: number) =>
        `{ ${Array.from({ length: 290 }, (_, n) => ten(n)).join(" ")} ${"__typename ".repeat(count - 2902)}}`;
      accepted(await ask(words(3000)));
      refused(await ask(words(3001)), "QUERY_TOO_COMPLEX");
      refused(await ask(`${words(2999)} %`), "BAD_USER_INPUT");
    });

    it("bound what is kept of documents", async () => {
      const schema = await buildSchema(api.pool);
      limitPlanCache(schema);
      for (let n = 0; n < 60; n += 1) {
        const answer = await execute({ schema, document: parse(`{ a${n}: __typename }`) });
        assert.ok(!("errors" in answer));
      }
      const known = schema.extensions.grafast as Record<symbol, { length: number }>;
      const sizes = Object.getOwnPropertySymbols(known).map((symbol) => known[symbol]?.length);
      assert.deepEqual(sizes, [50]);
    });

    it("stop what would take for ever to expand, to parse or to validate", async () => {
      const doubling = Array.from(
        { length: 40 },
        (_, n) => `fragment F${n} on Query { ...F${n + 1} ...F${n + 1} }`,
      );
      refused(
        await ask(`{ ...F0 } ${doubling.join(" ")} fragment F40 on Query { __typename }`),
        "QUERY_TOO_COMPLEX",
      );
      const chain = Array.from(
        { length: 2500 },
        (_, n) => `fragment F${n} on Query {...F${n + 1}}`,
      );
      refused(await ask(`{ ...F0 } ${chain.join(" ")}`), "QUERY_TOO_COMPLEX");
      refused(await ask(`{ ${"a{".repeat(45_000)} }`), "QUERY_TOO_COMPLEX");
      refused(await ask(`{ ${"a{".repeat(1000)}b${"}".repeat(1000)} }`), "QUERY_TOO_COMPLEX");
      refused(await ask(`{ ${"__typename ".repeat(9000)} }`), "QUERY_TOO_COMPLEX");
      refused(
        await ask(`{ __typename } fragment F on Query { ${"__typename ".repeat(8000)} }`),
        "QUERY_TOO_COMPLEX",
      );
    });

    it("leave fragments that contain themselves to graphql, which refuses them", async () => {
      for (const query of [
        "{ ...A } fragment A on Query { ...A }",
        "{ ...A } fragment A on Query { tienda { id } ...B } fragment B on Query { ...A }",
      ]) {
        const answer = await ask(query);
        refused(answer, "BAD_USER_INPUT");
        assert.match(answer.errors[0]?.message ?? "", /spread fragment/);
      }
    });

    it("let introspection pass", async () => {
      const answer = await ask(getIntrospectionQuery());
      accepted(answer);
      assert.ok(answer.data.__schema.types.length > 20);
    });
  });

  describe("of a page", () => {
    it("are 100 rows, wherever a list takes `first`", async () => {
      for (const [query, variables] of [
        ["{ insights(first: 101) { totalCount } }", {}],
        ["{ insights(first: -1) { totalCount } }", {}],
        ["query ($n: Int!) { insights(first: $n) { totalCount } }", { n: 101 }],
        ["query ($n: Int! = 101) { insights(first: $n) { totalCount } }", {}],
        ["{ productos(first: 1) { nodes { insights(first: 101) { totalCount } } } }", {}],
        ["{ ...F } fragment F on Query { ... { topProductos(first: 101) { units } } }", {}],
        ["{ profitability(first: 101) { units } }", {}],
      ] as const) {
        const answer = await ask(query, variables);
        refused(answer, "BAD_USER_INPUT");
        assert.equal(answer.errors[0]?.extensions?.field, "first", query);
        assert.match(answer.errors[0]?.message ?? "", /^first: expected .* got -?\d+/);
      }
      refused(await ask("{ insights(first: null) { totalCount } }"), "BAD_USER_INPUT");
      refused(
        await ask("query ($n: Int!) { insights(first: $n) { totalCount } }", { n: null }),
        "BAD_USER_INPUT",
      );
      accepted(await ask("query ($n: Int! = 100) { insights(first: $n) { totalCount } }"));
    });

    it("are 10,000 rows for lists inside of lists", async () => {
      const nested = (inner: number) =>
        `{ productos(first: 100) { nodes { insights(first: ${inner}) { totalCount } } } }`;
      accepted(await ask(nested(99)));
      refused(await ask(nested(100)), "QUERY_TOO_COMPLEX");
      const many = Array.from(
        { length: 101 },
        (_, n) => `a${n}: insights(first: 100) { totalCount }`,
      ).join(" ");
      refused(await ask(`{ ${many} }`), "QUERY_TOO_COMPLEX");
    });

    it("are told apart from cursors, which are checked as well", async () => {
      const { data } = await ask(
        "{ productos { pageInfo { endCursor } } insights { pageInfo { endCursor } } }",
      );
      assert.equal(data.productos.pageInfo.endCursor, null);
      for (const cursor of ["hola", "WyJhIiwxXQ==", "e30="]) {
        assert.equal(
          (await ask(`{ insights(after: "${cursor}") { nodes { id } } }`)).code,
          "BAD_USER_INPUT",
        );
      }
    });
  });

  describe("of what a user does at once", () => {
    const inUse = ({ pool }: Api) => pool.totalCount - pool.idleCount;

    /** Of the time that these requests take, how much a user of another store waits for one of its own. */
    async function shareThatAnotherWaits(busy: Api, slow: Promise<Answer>[]): Promise<number> {
      const other = await addUser(db.pool, await addStore(db.pool));
      const started = performance.now();
      assert.deepEqual((await busy.ask(other, "{ tienda { id } }")).errors, []);
      const waited = performance.now() - started;
      const answers = await Promise.all(slow);
      assert.ok(answers.every(({ code }) => code === undefined));
      return waited / (performance.now() - started);
    }

    it("leave room for others, and refuse nothing that can wait", async () => {
      const busy = await startApi(db);
      try {
        const slow = Array.from({ length: 100 }, () => busy.ask(user, "{ pausa }"));
        while (inUse(busy) < 3) await sleep(1);
        const waited = await shareThatAnotherWaits(busy, slow);
        assert.ok(waited < 1 / 2, `waited ${waited} of the time`);
      } finally {
        await busy.close();
      }
    });

    it("leave room for others, whatever a document asks for at once", async () => {
      const busy = await startApi(db);
      try {
        const fields = Array.from({ length: 15 }, (_, n) => `a${n}: espera(n: ${n})`).join(" ");
        const slow = Array.from({ length: 6 }, () => busy.ask(user, `{ ${fields} }`));
        while (inUse(busy) < 3) await sleep(1);
        await sleep(150);
        assert.ok(inUse(busy) <= 3);
        assert.equal(busy.pool.waitingCount, 0);
        const waited = await shareThatAnotherWaits(busy, slow);
        assert.ok(waited < 1 / 10, `waited ${waited} of the time`);
      } finally {
        await busy.close();
      }
    });

    it("ask the database who it is only when it is their turn", async () => {
      const busy = await startApi(db);
      try {
        let most = 0;
        const query = busy.pool.query.bind(busy.pool) as (...args: unknown[]) => unknown;
        let asking = 0;
        busy.pool.query = (async (...args: unknown[]) => {
          // Once a second the server also asks whether the engine may work.
          if (!JSON.stringify(args[0]).includes("authenticate")) return query(...args);
          asking += 1;
          most = Math.max(most, asking);
          await sleep(20);
          asking -= 1;
          return query(...args);
        }) as typeof busy.pool.query;
        const nobody = crypto.randomUUID();
        const ask = (id: string) => busy.ask(id, "{ __typename }");
        const answers = await Promise.all(
          Array.from({ length: 80 }, (_, n) => ask(n % 2 ? user : nobody)),
        );
        assert.deepEqual(
          new Set(answers.map(({ code }) => code)),
          new Set(["UNAUTHENTICATED", undefined]),
        );
        assert.equal(most, 6, "three of each");
        accepted(await ask(user));
      } finally {
        await busy.close();
      }
    });

    it("end with mutations, errors and clients that go away", async () => {
      const busy = await startApi(db, {
        mutationLimits: { user: 100, store: 100 },
        statementTimeoutMs: 300,
      });
      try {
        const clear = "clearInsights(input: {onlyArchived: false}) { deleted }";
        const mutations = Array.from({ length: 12 }, () =>
          busy.ask(user, `mutation { a: ${clear} b: ${clear} }`),
        );
        for (const answer of await Promise.all(mutations)) accepted(answer);
        const broken = Array.from({ length: 12 }, () => busy.ask(user, "{ a: rota b: lenta }"));
        for (const { errors } of await Promise.all(broken)) assert.ok(errors.length > 0);
        const authorization = `Bearer ${await signToken(user, secretKey, 600)}`;
        const fields = Array.from({ length: 9 }, (_, n) => `a${n}: espera(n: ${n})`).join(" ");
        const gone = Array.from({ length: 6 }, () =>
          fetch(`${busy.url}/graphql`, {
            method: "POST",
            headers: { "content-type": "application/json", authorization },
            body: JSON.stringify({ query: `{ ${fields} }` }),
            signal: AbortSignal.timeout(100),
          }),
        );
        for (const { status } of await Promise.allSettled(gone)) assert.equal(status, "rejected");
        accepted(await busy.ask(user, "{ tienda { id } }"));
        while (busy.pool.idleCount < busy.pool.totalCount) await sleep(10);
        assert.equal(busy.pool.waitingCount, 0);
      } finally {
        await busy.close();
      }
    });

    it("end where too many wait: these are told to come again", async () => {
      const answers = await Promise.all(Array.from({ length: 300 }, () => ask("{ pausa }")));
      const late = answers.find(({ code }) => code === "RATE_LIMITED");
      assert.deepEqual([late?.status, late?.headers.get("retry-after")], [429, "1"]);
      accepted(await ask("{ tienda { id } }"));
    });
  });

  describe("of what an error shows", () => {
    it("end a statement that takes too long with TIMEOUT", async () => {
      const answer = await ask("{ lenta tienda { nombre } }");
      assert.deepEqual([answer.code, answer.data.lenta], ["TIMEOUT", null]);
      assert.ok(answer.data.tienda.nombre, "the other fields have their answers");
    });

    it("hide an unexpected error behind the id under which the log has it", async () => {
      const answer = await ask("{ rota }");
      const requestId = answer.headers.get("x-request-id");
      assert.ok(requestId);
      assert.deepEqual(answer.data, { rota: null });
      assert.deepEqual(answer.errors[0]?.extensions, { code: "INTERNAL", requestId });
      assert.doesNotMatch(JSON.stringify(answer.errors), /zero|secreto|nexus_/);
      const line = logged.find((entry) => entry["requestId"] === requestId);
      assert.match(JSON.stringify(line), /division by zero/);
    });

    it("hide what is thrown before anything has run", async () => {
      const { query } = api.pool;
      // As a defect of ours, or of a library, would be.
      const broken = (...args: unknown[]) => {
        if ((args[0] as { name?: string }).name === "take_mutations")
          throw new Error("secreto interno");
        return Reflect.apply(query, api.pool, args);
      };
      api.pool.query = broken as typeof query;
      const answer = await ask("mutation { clearInsights { deleted } }").finally(() => {
        api.pool.query = query;
      });
      const requestId = answer.headers.get("x-request-id");
      assert.deepEqual(answer.errors[0]?.extensions, { code: "INTERNAL", requestId });
      assert.doesNotMatch(JSON.stringify(answer.errors), /secreto/);
      const line = logged.find((entry) => entry["requestId"] === requestId);
      assert.match(JSON.stringify(line), /secreto interno/);
    });

    it("name what is wrong with a document", async () => {
      for (const query of [
        "{ nada }",
        "{ ",
        "{ insights { nodes } }",
        "subscription ($b: Boolean!) { insightChanged @skip(if: $b) { refetch } }",
        '{ insight(id: "7") { id } }',
      ]) {
        refused(await ask(query), "BAD_USER_INPUT");
      }
      refused(
        await ask("query ($id: UUID!) { insight(id: $id) { id } }", { id: "7" }),
        "BAD_USER_INPUT",
      );
      refused(
        await ask(
          "query ($at: Datetime!) { insights(filter: {createdAt: {lessThan: $at}}) { totalCount } }",
          { at: "ayer" },
        ),
        "BAD_USER_INPUT",
      );
    });
  });
});
