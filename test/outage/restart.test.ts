import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Pool } from "pg";
import type { Api } from "../graphql/api.ts";
import { connect, type Subscription } from "../graphql/subscriber.ts";
import { until } from "../support/until.ts";
import { type EngineUnderTest, startEngineUnderTest } from "./engine_under_test.ts";
import { type Manner, OwnServer } from "./own_server.ts";
import { assertExact, openShops, ownerPool, type Sales, type Shops, sell } from "./shops.ts";

describe("while Postgres is away", () => {
  let server: OwnServer;
  let engine: EngineUnderTest;
  let pool: Pool;
  let shops: Shops;
  let sales: Sales | undefined;
  let changes: Subscription;
  let close: () => void;

  before(async () => {
    server = await OwnServer.start();
    engine = await startEngineUnderTest(server.url);
    pool = ownerPool(server.url);
    shops = await openShops(pool, 6);
    const subscriber = await connect({ url: engine.url } as Api, shops.user);
    close = subscriber.close;
    changes = subscriber.subscribe(
      "subscription { insightChanged { refetch changes { id kind } } }",
    );
    assert.deepEqual(await changes.next(), { insightChanged: { refetch: true, changes: [] } });
  });
  after(async () => {
    await sales?.stop();
    close?.();
    await engine?.engine.stop().catch(() => {});
    await pool?.end();
    await server?.destroy();
  });

  /** Jobs that Postgres runs at this moment. */
  async function working(): Promise<boolean> {
    const { rows } = await pool.query(
      "select count(*) > 1 as working from graphile_worker._private_jobs where locked_at is not null",
    );
    return rows[0].working;
  }

  async function loseAndRegain(manner: Manner, awayMs: number): Promise<void> {
    sales = sell(server.url, shops);
    await until("jobs run", working);
    const heard = changes.received.length;
    await server.end(manner);
    assert.equal(await engine.ready(), 503);
    assert.equal(await engine.ask(shops.user), "UNAVAILABLE");
    assert.equal((await fetch(`${engine.url}/health/live`)).status, 200);
    await sleep(awayMs);
    await server.startAgain();
    await until("it is ready", async () => (await engine.ready()) === 200, 5_000);
    assert.equal(await engine.ask(shops.user), "ok");
    await until("the subscriber is told to ask anew", async () =>
      changes.received.slice(heard).some(({ data }) => data?.insightChanged.refetch),
    );
    await sleep(300);
    await sales.stop();
    assert.ok(sales.counts.committed > 0 && sales.counts.refused + sales.counts.unknown > 0);
    await assertExact(pool, sales.counts);
    await pool.query("truncate public.prueba");
  }

  it("goes on after a restart that is fast", () => loseAndRegain("fast", 0));
  it("goes on after one that is immediate", () => loseAndRegain("immediate", 0));
  it("goes on after the server was killed and stayed away", () => loseAndRegain("kill", 1_500));

  it("goes on when single connections are cut", async () => {
    sales = sell(server.url, shops);
    await until("jobs run", working);
    const { rows } = await pool.query(
      `select count(pg_terminate_backend(pid)) as cut from pg_stat_activity
       where datname = current_database() and application_name ~ '^nexus-(worker|server)'`,
    );
    assert.ok(rows[0].cut > 3);
    await until("it is ready", async () => (await engine.ready()) === 200, 5_000);
    await sleep(300);
    await sales.stop();
    await sleep(500);
    await assertExact(pool, sales.counts);
  });

  it("stops in order without it", async () => {
    close();
    await server.end("immediate");
    const began = performance.now();
    await engine.engine.stop();
    assert.ok(performance.now() - began < 8_000);
  });
});
