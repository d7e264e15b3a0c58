import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { after, before, beforeEach, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import { signToken } from "../../src/graphql/token.ts";
import { maxConnectionsPerUser, maxSubscriptions } from "../../src/graphql/websocket.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore, addUser, reconcile, setStock } from "../support/fixtures.ts";
import { runJobs } from "../support/jobs.ts";
import { type Api, secretKey, startApi } from "./api.ts";
import { connect, type Subscriber, wsUrl } from "./subscriber.ts";

const insightChanged = `subscription {
  insightChanged { refetch changes { id kind insight { id tipo nivelUrgencia isActive } } }
}`;
const refreshRequestChanged = `subscription ($id: UUID!) {
  refreshRequestChanged(id: $id) { id status counts { tipo inserted } }
}`;
const refetch = { insightChanged: { refetch: true, changes: [] } };

describe("subscriptions", () => {
  let db: TestDatabase;
  let api: Api;
  let store: string;
  let user: string;
  const open: Subscriber[] = [];

  before(async () => {
    db = await createTestDatabase();
    api = await startApi(db, { subscriberCheckMs: 300 });
  });
  after(async () => {
    for (const subscriber of open) subscriber.close();
    await api.close();
    await db.drop();
  });
  beforeEach(async () => {
    store = await addStore(db.pool);
    user = await addUser(db.pool, store);
  });

  const connected = async (as: Parameters<typeof connect>[1] = user) => {
    const subscriber = await connect(api, as);
    open.push(subscriber);
    return subscriber;
  };
  /** A subscription that has begun. */
  const watching = async (as: Parameters<typeof connect>[1] = user) => {
    const subscription = (await connected(as)).subscribe(insightChanged);
    assert.deepEqual(await subscription.next(), refetch);
    return subscription;
  };
  const bearer = async (id: string, seconds = 600) =>
    `Bearer ${await signToken(id, secretKey, seconds)}`;
  const alerts = (tienda = store) => reconcile(db.pool, [tienda], new Date());

  describe("to insightChanged", () => {
    it("begin with a message, then bring what is new, changed and resolved, as it is now", async () => {
      const subscription = await watching();
      const change = async () => {
        const { insightChanged } = await subscription.next();
        assert.equal(insightChanged.refetch, false);
        return insightChanged.changes.map(
          // biome-ignore lint/suspicious/noExplicitAny: JSON
          ({ id, kind, insight }: any) => {
            assert.equal(insight.id, id);
            return [kind, insight.tipo, insight.nivelUrgencia, insight.isActive];
          },
        );
      };
      const product = await addProduct(db.pool, store, { stock: 5 });
      await alerts();
      assert.deepEqual(await change(), [["NEW", "STOCK_BAJO", "ALTA", true]]);
      await setStock(db.pool, product, 2);
      await alerts();
      assert.deepEqual(await change(), [["CHANGED", "STOCK_BAJO", "CRITICA", true]]);
      await setStock(db.pool, product, 0);
      await alerts();
      assert.deepEqual((await change()).sort(), [
        ["NEW", "PRODUCTO_SIN_STOCK", "ALTA", true],
        ["RESOLVED", "STOCK_BAJO", "CRITICA", false],
      ]);
      await alerts();
      await sleep(50);
      assert.equal(subscription.received.length, 4);
    });

    it("tell the other devices of a store what was dismissed or deleted on one", async () => {
      for (const stock of [5, 6]) await addProduct(db.pool, store, { stock });
      await alerts();
      const subscription = await watching();
      const { data } = await api.ask(user, "{ insights { nodes { id } } }");
      const [first, second] = data.insights.nodes.map(({ id }: { id: string }) => id);
      const dismiss = `mutation { dismissInsight(input: {id: "${first}"}) { insight { id } } }`;
      await api.ask(user, dismiss);
      const { insightChanged: dismissed } = await subscription.next();
      assert.equal(dismissed.changes[0].insight.isActive, false);
      await api.ask(user, dismiss);
      await api.ask(user, "mutation { clearInsights(input: {onlyArchived: false}) { deleted } }");
      assert.deepEqual((await subscription.next()).insightChanged.changes, [
        { id: second, kind: "RESOLVED", insight: null },
      ]);
    });

    it("bring nothing of another store", async () => {
      const other = await addStore(db.pool);
      const [own, others] = [await watching(), await watching(await addUser(db.pool, other))];
      await addProduct(db.pool, other, { stock: 1 });
      await alerts(other);
      assert.equal((await others.next()).insightChanged.changes[0].kind, "NEW");
      await addProduct(db.pool, store, { stock: 1 });
      await alerts();
      assert.equal((await own.next()).insightChanged.changes[0].kind, "NEW");
      await sleep(50);
      assert.deepEqual([own.received.length, others.received.length], [2, 2]);
    });

    it("show no row that another's announcement names", async () => {
      const other = await addStore(db.pool);
      await addProduct(db.pool, other, { stock: 1 });
      await alerts(other);
      const { rows } = await db.pool.query("select id from public.insights where tienda_id = $1", [
        other,
      ]);
      const subscription = await watching();
      await db.pool.query("select pg_notify($1, $2)", [
        `nexus_store:${store}`,
        JSON.stringify({ new: [rows[0]?.id] }),
      ]);
      assert.equal((await subscription.next()).insightChanged.changes[0].insight, null);
      await db.pool.query("select pg_notify($1, 'hola')", [`nexus_store:${store}`]);
      assert.deepEqual(await subscription.next(), refetch);
    });

    it("say of 10,000 changes in one transaction only that there were many", async () => {
      const subscription = await watching();
      await db.pool.query(
        `insert into public.productos (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
         select gen_random_uuid(), 'P', gen_random_uuid()::text, 1, 1, 0, 'general', true, $1 from generate_series(1, 10000)`,
        [store],
      );
      await alerts();
      assert.deepEqual(await subscription.next(), refetch);
      const { data } = await api.ask(user, "{ insightStats { active } }");
      assert.equal(data.insightStats.active, 10_000);
      await sleep(50);
      assert.equal(subscription.received.length, 2);
    });

    it("merge 10,000 changes in as many transactions into few messages", async () => {
      await addProduct(db.pool, store, { stock: 5 });
      await alerts();
      const { rows } = await db.pool.query("select id from public.insights where tienda_id = $1", [
        store,
      ]);
      const subscription = await watching();
      const started = performance.now();
      await db.pool.query(`do $$ begin
        for i in 1..9999 loop
          perform pg_notify('nexus_store:${store}', '{"changed": ["${rows[0]?.id}"]}');
          if i > 9800 then
            perform pg_sleep(0.003);
          end if;
          commit;
        end loop;
        perform pg_notify('nexus_store:${store}', '{"resolved": ["${rows[0]?.id}"]}');
      end $$`);
      for (;;) {
        const { changes } = (await subscription.next()).insightChanged;
        assert.equal(changes.length, 1);
        if (changes[0].kind === "RESOLVED") break;
      }
      const most = 3 + (performance.now() - started) / 25;
      assert.ok(subscription.received.length < most, `${subscription.received.length} messages`);
    });
  });

  describe("to refreshRequestChanged", () => {
    it("tell how far the request is, at once and at each step", async () => {
      await addProduct(db.pool, store, { stock: 5 });
      const { data } = await api.ask(
        user,
        "mutation { refreshInsights { refreshRequest { id } } }",
      );
      const { id } = data.refreshInsights.refreshRequest;
      const stranger = await addUser(db.pool, await addStore(db.pool));
      const foreign = (await connected(stranger)).subscribe(refreshRequestChanged, { id });
      const own = (await connected()).subscribe(refreshRequestChanged, { id: id.toUpperCase() });
      const request = async () => (await own.next()).refreshRequestChanged;
      assert.deepEqual(await request(), { id, status: "QUEUED", counts: [] });
      assert.deepEqual(await foreign.next(), { refreshRequestChanged: null });
      await runJobs(db.poolAs("nexus_worker"));
      const seen = [await request()];
      if (seen[0].status === "RUNNING") seen.push(await request());
      assert.equal(seen.at(-1).status, "SUCCEEDED");
      const low = { tipo: "STOCK_BAJO", inserted: 1 };
      assert.deepEqual(
        seen.at(-1).counts.filter(({ tipo }: { tipo: string }) => tipo === low.tipo),
        [low],
      );
      await sleep(50);
      assert.equal(foreign.received.length, 1);
    });
  });

  describe("need a token", () => {
    it("of an active user of an active store, or are closed with 4401 or 4403", async () => {
      const idle = await addUser(db.pool, store, { isActive: false });
      const shut = await addUser(db.pool, await addStore(db.pool, { isActive: false }));
      const forged = `Bearer ${await signToken(user, Buffer.alloc(32, 1), 60)}`;
      for (const [given, code, reason] of [
        [{}, 4401, "UNAUTHENTICATED"],
        [{ params: { authorization: 7 } }, 4401, "UNAUTHENTICATED"],
        [{ params: { authorization: forged } }, 4401, "UNAUTHENTICATED"],
        [{ headers: { authorization: forged } }, 4401, "UNAUTHENTICATED"],
        [{ params: { authorization: await bearer(user, -1) } }, 4401, "TOKEN_EXPIRED"],
        [{ params: { authorization: await bearer(crypto.randomUUID()) } }, 4401, "UNAUTHENTICATED"],
        [{ params: { authorization: await bearer(idle) } }, 4403, "USER_INACTIVE"],
        [{ params: { authorization: await bearer(shut) } }, 4403, "STORE_INACTIVE"],
      ] as const) {
        const event = await (await connected(given)).closed;
        assert.deepEqual([event.code, event.reason], [code, reason]);
      }
    });

    it("as a connection parameter or as a header", async () => {
      await watching({ params: { Authorization: await bearer(user) } });
      await watching({ headers: { authorization: await bearer(user.toUpperCase()) } });
    });

    it("before anything else", async () => {
      const socket = new WebSocket(wsUrl(api), "graphql-transport-ws");
      await once(socket, "open");
      const payload = { query: insightChanged };
      socket.send(JSON.stringify({ type: "subscribe", id: "1", payload }));
      const [code] = await once(socket, "close");
      assert.equal(code, 4401);
    });

    it("that is valid: at its expiry the connection is closed", async () => {
      const subscriber = await connected({ params: { authorization: await bearer(user, 2) } });
      const subscription = subscriber.subscribe(insightChanged);
      await subscription.next();
      const { code, reason } = await subscriber.closed;
      assert.deepEqual([code, reason], [4401, "TOKEN_EXPIRED"]);
      await addProduct(db.pool, store, { stock: 1 });
      await alerts();
      await sleep(50);
      assert.equal(subscription.received.length, 1);
    });

    it("of a user who stays active in the same store", async () => {
      const users = [user, ...(await Promise.all([1, 2, 3].map(() => addUser(db.pool, store))))];
      const subscribers = await Promise.all(users.map(connected));
      const begun = subscribers.map((subscriber) => subscriber.subscribe(insightChanged));
      for (const subscription of begun) await subscription.next();
      const elsewhere = await addStore(db.pool);
      await db.pool.query("update public.users set is_active = false where id = $1", [users[0]]);
      await db.pool.query("update public.users set tienda_id = $2 where id = $1", [
        users[1],
        elsewhere,
      ]);
      for (const n of [0, 1]) assert.equal((await subscribers[n]?.closed)?.code, 4403);
      await addProduct(db.pool, store, { stock: 1 });
      await alerts();
      for (const n of [2, 3]) assert.ok(await begun[n]?.next());
      await db.pool.query("update public.tiendas set is_active = false where id = $1", [store]);
      for (const n of [2, 3]) assert.equal((await subscribers[n]?.closed)?.code, 4403);
    });
  });

  describe("are limited", () => {
    const refused = async (subscriber: Subscriber, query: string, code: string) => {
      const subscription = subscriber.subscribe(query);
      const [error] = (await subscription.ended) as { extensions: { code: string } }[];
      assert.equal(error?.extensions.code, code, query);
      assert.deepEqual(subscription.received, []);
    };

    it("to documents of the size of any other", async () => {
      const subscriber = await connected();
      const many = Array.from({ length: 500 }, (_, n) => `a${n}: refetch`).join(" ");
      await refused(subscriber, `subscription { insightChanged { ${many} } }`, "QUERY_TOO_COMPLEX");
      const deep = `${"producto { insights(first: 1) { nodes { ".repeat(4)} id ${"} } }".repeat(4)}`;
      await refused(
        subscriber,
        `subscription { insightChanged { changes { insight { ${deep} } } } }`,
        "QUERY_TOO_COMPLEX",
      );
      await refused(subscriber, "subscription { nada }", "BAD_USER_INPUT");
    });

    it("to subscriptions: queries and mutations go over HTTP, subscriptions do not", async () => {
      const subscriber = await connected();
      await refused(subscriber, "{ tienda { id } }", "BAD_USER_INPUT");
      await refused(subscriber, "mutation { clearInsights { deleted } }", "BAD_USER_INPUT");
      const answer = await api.ask(user, insightChanged);
      assert.deepEqual([answer.status, answer.code], [400, "BAD_USER_INPUT"]);
    });

    it("in rows, a hundred changes being a page", async () => {
      const nested = (first: number) =>
        `subscription { insightChanged { changes { insight { producto { insights(first: ${first}) { nodes { id } } } } } } }`;
      const subscriber = await connected();
      const subscription = subscriber.subscribe(nested(100));
      assert.ok(await subscription.next());
      const two = nested(100).replace("producto", "a: producto { sku } producto");
      assert.ok(await subscriber.subscribe(two).next());
      const message = await firstMessage(subscriber, nested(101));
      assert.equal(message.errors?.[0]?.extensions?.code, "BAD_USER_INPUT");
      const twice = nested(60).replace(
        "insights(",
        "a: insights(first: 60) { totalCount } insights(",
      );
      const large = await firstMessage(subscriber, twice);
      assert.equal(large.errors?.[0]?.extensions?.code, "QUERY_TOO_COMPLEX");
    });

    it(`to ${maxSubscriptions} a connection`, async () => {
      const subscriber = await connected();
      const all = Array.from({ length: maxSubscriptions }, () =>
        subscriber.subscribe(insightChanged),
      );
      for (const subscription of all) await subscription.next();
      await refused(subscriber, insightChanged, "BAD_USER_INPUT");
      all[0]?.stop();
      await all[0]?.ended;
      await subscriber.subscribe(insightChanged).next();
    });

    it(`to ${maxConnectionsPerUser} connections a user`, async () => {
      const subscribers = [];
      for (let n = 0; n < maxConnectionsPerUser; n += 1) {
        const subscriber = await connected();
        await subscriber.subscribe(insightChanged).next();
        subscribers.push(subscriber);
      }
      assert.equal((await (await connected()).closed).code, 4429);
      subscribers[0]?.close();
      await subscribers[0]?.closed;
      await watching();
    });

    it("to messages of 64 kB", async () => {
      const socket = new WebSocket(wsUrl(api), "graphql-transport-ws");
      await once(socket, "open");
      socket.send("x".repeat(64_001));
      const [code] = await once(socket, "close");
      assert.equal(code, 1009);
    });

    it("to clients that read: one that only makes us answer is cut off", async () => {
      const socket = new WebSocket(wsUrl(api), "graphql-transport-ws");
      await once(socket, "open");
      const closed = once(socket, "close");
      const init = { type: "connection_init", payload: { authorization: await bearer(user) } };
      socket.send(JSON.stringify(init));
      await once(socket, "message");
      // One that subscribes to nothing is closed for that.
      const query = "subscription { insightChanged { refetch } }";
      socket.send(JSON.stringify({ id: "1", type: "subscribe", payload: { query } }));
      await once(socket, "message");
      socket.pause();
      const ping = JSON.stringify({ type: "ping", payload: { text: "x".repeat(60_000) } });
      for (let n = 0; n < 400; n += 1) socket.send(ping, () => {});
      await sleep(200);
      socket.resume();
      assert.equal((await closed)[0], 1006);
    });

    it("to clients that answer a ping, and that subscribe to something", async () => {
      const deaf = new WebSocket(wsUrl(api), "graphql-transport-ws", { autoPong: false });
      const [code] = await once(deaf, "close");
      assert.equal(code, 1006);
      assert.equal((await (await connected()).closed).code, 1000);
    });

    it("to /graphql and its protocol", async () => {
      const elsewhere = new WebSocket(`${wsUrl(api)}/nada`, "graphql-transport-ws");
      const [error] = await once(elsewhere, "error");
      assert.match(String(error), /404/);
      const old = new WebSocket(wsUrl(api), "graphql-ws");
      await assert.rejects(once(old, "open"), /no subprotocol/);
      // curl --http2 asks for an upgrade that is none of ours: it gets an ordinary answer.
      const headers = { connection: "upgrade", upgrade: "h2c" };
      const asked = request(`${api.url}/health/live`, { headers }).end();
      const [response] = await once(asked, "response");
      assert.equal(response.statusCode, 200);
      response.resume();
    });
  });

  describe("when Postgres drops connections", () => {
    it("begin anew by themselves, and new ones begin", async () => {
      const subscription = await watching();
      await db.pool.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name = 'test-nexus_server'`,
      );
      assert.deepEqual(await subscription.next(), refetch);
      await addProduct(db.pool, store, { stock: 5 });
      await alerts();
      assert.equal((await subscription.next()).insightChanged.changes[0].kind, "NEW");
      await watching();
    });
  });

  describe("when they end", () => {
    const channels = async () => {
      const { rows } = await db.pool.query<{ query: string }>(
        `select query from pg_stat_activity
         where datname = current_database() and query ~ '^(un)?listen' order by state_change`,
      );
      return rows.map(({ query }) => query);
    };

    it("close the channel of a store that nobody watches", async () => {
      const subscription = await watching();
      assert.match((await channels()).join(), new RegExp(`listen "nexus_store:${store}"`));
      subscription.stop();
      for (
        let n = 0;
        !(await channels()).join().includes(`unlisten "nexus_store:${store}"`);
        n += 1
      ) {
        assert.ok(n < 100, "the channel stays open");
        await sleep(20);
      }
    });

    it("by the server's close, are told so and leave no connection behind", async () => {
      const server = await startApi(db);
      const subscriber = await connect(server, user);
      const subscription = subscriber.subscribe(insightChanged);
      await subscription.next();
      const deaf = new WebSocket(wsUrl(server), "graphql-transport-ws");
      await once(deaf, "open");
      deaf.pause();
      const started = performance.now();
      await server.close();
      assert.ok(performance.now() - started < 2500);
      assert.equal((await subscriber.closed).code, 1001);
      assert.equal(server.pool.idleCount, server.pool.totalCount);
      await assert.rejects(fetch(`${server.url}/health/live`));
      deaf.terminate();
    });
  });
});

async function firstMessage(subscriber: Subscriber, query: string) {
  const subscription = subscriber.subscribe(query);
  await subscription.ended;
  return subscription.received[0] ?? {};
}
