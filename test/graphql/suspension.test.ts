import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { posTables } from "../../src/database/pos.ts";
import {
  explanation,
  type SuspensionWatch,
  watchSuspension,
} from "../../src/database/suspension.ts";
import { createLog } from "../../src/log.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { attach, detach } from "../support/detach.ts";
import { addProduct, addStore, addUser, reconcile, setStock } from "../support/fixtures.ts";
import { until } from "../support/until.ts";
import { type Answer, type Api, startApi } from "./api.ts";
import { connect } from "./subscriber.ts";

const everything = `{
  insights { nodes { mensaje producto { nombre sku } } } productos { nodes { nombre sku tipo precioVenta } }
  tienda { nombre rubro } storeSettings { timeZone } salesSummary { today { total } } stockSummary { outOfStock } }`;
const mutations = [
  "mutation { refreshInsights(input: {}) { refreshRequest { id } } }",
  'mutation { updateStoreSettings(input: { patch: { summaryTime: "21:00" } }) { storeSettings { summaryTime } } }',
];

describe("the API of a suspended engine", () => {
  let db: TestDatabase;
  let user: string;
  let store: string;
  let product: string;
  let suspension: SuspensionWatch;
  let api: Api;
  const lines: { level: string; msg: string; err?: unknown }[] = [];
  const log = createLog("info", { write: (line) => lines.push(JSON.parse(line)) });
  before(async () => {
    db = await createTestDatabase();
    store = await addStore(db.pool);
    user = await addUser(db.pool, store);
    product = await addProduct(db.pool, store, { nombre: "Pan", stock: 2 });
    await reconcile(db.pool, [store], new Date());
    // It looks when it is told to, and when an error gives a reason.
    suspension = await watchSuspension(db.poolAs("nexus_server", 1), log, 3_600_000);
    api = await startApi(db, { suspension, log });
  });
  afterEach(async () => {
    await hide("disable", ...posTables);
    await works();
  });
  after(async () => {
    await api.close();
    void suspension.stop();
    await db.drop();
  });

  const hide = (how: "enable" | "disable", ...tables: string[]) =>
    db.pool.query(
      tables.map((name) => `alter table public.${name} ${how} row level security`).join(";"),
    );
  const works = async (server = api) => {
    await suspension.look();
    await until("it works", async () => (await server.ask(user, everything)).status === 200);
    lines.length = 0;
  };
  const isRefused = ({ status, code, headers, errors }: Answer) => {
    assert.deepEqual([status, code], [503, "UNAVAILABLE"], JSON.stringify(errors));
    assert.equal(headers.get("retry-after"), "5");
    for (const { message, extensions } of errors) {
      assert.equal(extensions?.retryAfter, 5);
      // To anybody: without names of tables.
      assert.equal(message, "The service is suspended for maintenance, try again later.");
    }
  };

  for (const table of posTables) {
    it(`asks to come again where rows of ${table} are hidden, whoever notices first`, async () => {
      const documents = [everything, ...mutations];
      for (const document of documents) {
        await hide("enable", table);
        // Before anybody has looked.
        const first = await api.ask(user, document);
        // Some do not look at that table.
        if (document !== everything || table === "detalles_venta") {
          if (first.status !== 200) isRefused(first);
        } else isRefused(first);
        await suspension.look();
        isRefused(await api.ask(user, document));
        isRefused(await api.post("{", {}));
        const ready = await fetch(`${api.url}/health/ready`);
        assert.equal(ready.status, 503);
        assert.deepEqual(await ready.json(), {
          status: "unavailable",
          problems: [
            `suspended: row level security of public.${table} would hide rows from the engine`,
          ],
        });
        assert.equal((await fetch(`${api.url}/health/live`)).status, 200);
        assert.deepEqual(
          lines.filter(({ level }) => level === "error").map(({ msg }) => msg.split(":")[0]),
          ["suspended"],
        );
        await hide("disable", table);
        await works();
        assert.equal((await fetch(`${api.url}/health/ready`)).status, 200);
      }
    });
  }

  it("ends subscriptions, whose clients come again and ask anew", async () => {
    const document = "subscription { insightChanged { refetch changes { kind } } }";
    const before = await connect(api, user);
    assert.equal((await before.subscribe(document).next()).insightChanged.refetch, true);
    await hide("enable", "productos");
    await suspension.look();
    assert.equal((await before.closed).code, 1013);
    const refused = await connect(api, user);
    assert.notEqual((await refused.closed).code, 1000);
    await hide("disable", "productos");
    await works();
    const again = await connect(api, user);
    const changes = again.subscribe(document);
    assert.equal((await changes.next()).insightChanged.refetch, true);
    await setStock(db.pool, product, 0);
    await reconcile(db.pool, [store], new Date());
    assert.ok((await changes.next()).insightChanged.changes.length > 0);
    again.close();
  });

  it("tells a subscriber who comes before anybody has noticed to come again", async () => {
    await hide("enable", "users");
    const early = await connect(api, user);
    assert.equal((await early.closed).code, 1013);
  });

  it("answers as before after a detachment in which columns changed, on connections of before", async () => {
    const ask = () => Promise.all(Array.from({ length: 12 }, () => api.ask(user, everything)));
    const before = await ask();
    await ask();
    await detach(db);
    await suspension.look();
    isRefused(await api.ask(user, everything));
    await db.pool.query("alter table public.productos alter nombre type text");
    await db.pool.query("alter table public.tiendas alter nombre type text");
    await attach(db);
    await works();
    for (const answer of await ask()) {
      assert.equal(answer.status, 200);
      assert.deepEqual(answer.errors, []);
      assert.deepEqual(answer.data, before[0]?.data);
    }
  });

  it("is there when it was started meanwhile, and shows its schema afterwards", async () => {
    await detach(db);
    await suspension.look();
    const late = await startApi(db, { suspension, log });
    try {
      isRefused(await late.ask(user, everything));
      const unknown = await fetch(`${late.url}/nothing`);
      assert.equal(unknown.status, 404);
      await attach(db);
      await works(late);
    } finally {
      await late.close();
    }
  });

  it("starts though the views vanish while it builds its schema", async () => {
    await detach(db);
    // Nobody has looked.
    const late = await startApi(db, { suspension, log });
    try {
      isRefused(await late.ask(user, everything));
      await attach(db);
      await works(late);
    } finally {
      await late.close();
    }
  });

  it("takes for its own what Postgres says of a view that went while it was being used", () => {
    const raised = (code: string) => Object.assign(new Error("could not open relation"), { code });
    const now = { reason: "detached", remedy: "" };
    const during = { current: () => now, wasJustChanged: () => false };
    const justAfter = { current: () => undefined, wasJustChanged: () => true };
    const longAfter = { current: () => undefined, wasJustChanged: () => false };
    for (const code of ["XX000", "42P01"]) {
      assert.equal(explanation(raised(code), during), now);
      assert.match(explanation(raised(code), justAfter)?.reason ?? "", /changed a moment ago/);
      assert.equal(explanation(raised(code), longAfter), undefined);
    }
    // Corrupted data.
    assert.equal(explanation(raised("XX001"), during), undefined);
  });

  it("does not hide a fault that has another cause", async () => {
    await db.pool.query(
      `update nexus_engine.migration set applied_at = applied_at - interval '1 minute';
       alter function nexus_engine.authenticate(uuid) rename to nobody`,
    );
    await suspension.look();
    const { status, code } = await api.ask(user, everything);
    await db.pool.query("alter function nexus_engine.nobody(uuid) rename to authenticate");
    assert.deepEqual([status, code], [500, "INTERNAL"]);
  });
});
