import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Pool } from "pg";
import { connect } from "../../src/database/client.ts";
import { createPool } from "../../src/database/pools.ts";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";
import { until } from "../support/until.ts";
import { type EngineUnderTest, startEngineUnderTest } from "./engine_under_test.ts";
import { OwnServer } from "./own_server.ts";
import { assertExact, openShops, ownerPool, type Sales, type Shops, sell } from "./shops.ts";

const log = createLog("silent");

describe("a primary and its standby", () => {
  let primary: OwnServer;
  let standby: OwnServer;
  /** Both, the standby first. */
  let both: string;
  let engine: EngineUnderTest;
  /** A server half whose own connections lead to the standby, and nowhere else. */
  let onStandby: EngineUnderTest;
  let pool: Pool;
  let shops: Shops;
  let sales: Sales | undefined;

  before(async () => {
    primary = await OwnServer.start();
    await prepareDatabase(primary.url, log, { createPos: true });
    await primary.end("fast");
    standby = await primary.copyAsStandby();
    await Promise.all([primary.startAgain(), standby.startAgain()]);
    const hosts = `${new URL(standby.url).host},${new URL(primary.url).host}`;
    both = primary.url.replace(/@[^/]+/, `@${hosts}`);
    engine = await startEngineUnderTest(both);
    onStandby = await startEngineUnderTest(
      both,
      { SERVER_DATABASE_URL: standby.url },
      { worker: false, server: true },
    );
    pool = ownerPool(both);
    shops = await openShops(pool, 6);
  });
  after(async () => {
    await sales?.stop();
    await engine?.engine.stop().catch(() => {});
    await onStandby?.engine.stop().catch(() => {});
    await pool?.end();
    await primary?.destroy();
    await standby?.destroy();
  });

  const portOf = (server: OwnServer) => Number(new URL(server.url).port);

  it("connects to the one that takes writes, in whichever place it stands", async () => {
    for (const url of [both, `${both}?target_session_attrs=primary`]) {
      const client = await connect(url, "test");
      const { rows } = await client.query("select pg_is_in_recovery() as standby");
      assert.deepEqual([client.port, rows[0].standby], [portOf(primary), false]);
      await client.end();
    }
    const alone = `${standby.url}?target_session_attrs=read-write`;
    await assert.rejects(connect(alone, "test"), { code: "25006" });
    const standbys = standby.url.replace(/@[^/]+/, (host) => `${host},127.0.0.1:1`);
    await assert.rejects(connect(standbys, "test"), {
      code: "25006",
      message: /\(read-only\).*127\.0\.0\.1:1 \(connect ECONNREFUSED/,
    });
  });

  it("is refused by a standby, whose connection is not used again", async () => {
    const { rows } = await pool.query("select pg_current_wal_flush_lsn() as lsn");
    const reader = await connect(standby.url, "test");
    await until("the standby has all", async () => {
      const { rows: at } = await reader.query("select pg_last_wal_replay_lsn() >= $1 as all", [
        rows[0].lsn,
      ]);
      return at[0].all;
    });
    await reader.end();
    const readOnly = createPool({
      connectionString: standby.url,
      log,
      max: 2,
      name: "test",
      role: "nexus_worker",
    });
    const add = "select graphile_worker.add_job('purge')";
    const client = await readOnly.connect();
    await assert.rejects(client.query(add), { code: "25006" });
    await sleep(20);
    client.release();
    assert.equal(readOnly.totalCount, 0, "it is not given back to be used again");
    await readOnly.end();
  });

  it("goes on with the promoted standby", async () => {
    sales = sell(both, shops);
    await until("jobs run", async () => {
      const { rows } = await pool.query(
        "select count(*) > 1 as working from graphile_worker._private_jobs where locked_at is not null",
      );
      return rows[0].working;
    });
    assert.deepEqual([await engine.ready(), await onStandby.ready()], [200, 503]);
    await primary.end("fast");
    assert.equal(await engine.ready(), 503);
    assert.equal(await engine.ask(shops.user), "UNAVAILABLE");
    const next = await connect(standby.url, "test");
    await next.query("select pg_promote()");
    await next.end();
    await until("it is ready", async () => (await engine.ready()) === 200, 5_000);
    assert.equal(await engine.ask(shops.user), "ok");
    assert.equal(await onStandby.ready(), 200);
    await sleep(300);
    await sales.stop();
    await until("all use the promoted one", async () => {
      const { rows: clients } = await pool.query(
        "select count(*)::int as clients from pg_stat_activity where application_name = 'nexus-worker'",
      );
      return clients[0].clients > 0;
    });
    assert.ok(sales.counts.committed > 0 && sales.counts.refused + sales.counts.unknown > 0);
    await assertExact(pool, sales.counts);
  });
});
