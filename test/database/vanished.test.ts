import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "../../src/database/client.ts";
import { createPool } from "../../src/database/pools.ts";
import { createLog } from "../../src/log.ts";
import { startStockDrain } from "../../src/worker/stock-drain.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { type Detour, detourTo } from "../support/detour.ts";
import { until } from "../support/until.ts";

describe("a host that vanishes without a word", { concurrency: true }, () => {
  let db: TestDatabase;
  const detours: Detour[] = [];
  before(async () => {
    db = await createTestDatabase();
  });
  after(async () => {
    for (const detour of detours) await detour.close();
    await db.drop();
  });

  const detour = async () => {
    const opened = await detourTo(db.url);
    detours.push(opened);
    return opened;
  };

  it("keeps no statement waiting once another host is the primary", async () => {
    const vanishing = await detour();
    const both = db.url.replace(
      /@[^/]+/,
      `@${new URL(vanishing.url).host},${new URL(db.url).host}`,
    );
    const client = await connect(both, "test");
    const lost = assert.rejects(client.query("select pg_sleep(600)"), /terminated/);
    await until("it sleeps", async () => {
      const { rows } = await db.pool.query(
        "select from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active'",
      );
      return rows.length > 0;
    });
    vanishing.freeze();
    const next = await connect(both, "test");
    assert.equal(next.port, Number(new URL(db.url).port));
    await lost;
    await next.query("select 1");
    await next.end();
  });

  it("does not keep the stock drain from stopping", async () => {
    const vanishing = await detour();
    const log = createLog("silent");
    const pool = createPool({
      connectionString: vanishing.url,
      log,
      max: 1,
      name: "test-drain",
      role: "nexus_worker",
    });
    const drain = startStockDrain(pool, log);
    await until("it listens", async () => {
      const { rows } = await db.pool.query(
        "select from pg_stat_activity where application_name = 'test-drain' and query like '%drain_outbox%'",
      );
      return rows.length > 0;
    });
    vanishing.freeze();
    // By now it looks into the outbox again.
    await sleep(1_200);
    await drain.stop();
    assert.equal(pool.totalCount, 0);
    await pool.end();
  });
});
