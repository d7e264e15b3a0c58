import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addStore, addUser } from "../support/fixtures.ts";
import { type Api, asRequest, startApi } from "./api.ts";

let db: TestDatabase;
let api: Api;
before(async () => {
  db = await createTestDatabase();
  api = await startApi(db);
});
after(async () => {
  await api.close();
  await db.drop();
});

async function owner() {
  const tienda = await addStore(db.pool);
  return { tienda, user: await addUser(db.pool, tienda) };
}

describe("updateStoreSettings", () => {
  const update = `mutation ($patch: SettingsPatch!) { updateStoreSettings(input: {patch: $patch}) { storeSettings {
    timeZone dayStartsAt summaryTime weeklySummaryDow weeklySummaryTime lowStockThreshold criticalThreshold leadTimeDays countedPendingMethods cashMethods mutedTypes } } }`;
  const everyMethod = ["efectivo", "tarjeta_debito", "tarjeta_credito", "transferencia"];
  const defaults = {
    timeZone: "America/Argentina/Buenos_Aires",
    dayStartsAt: "00:00:00",
    summaryTime: "20:00:00",
    weeklySummaryDow: 1,
    weeklySummaryTime: "09:00:00",
    lowStockThreshold: 10,
    criticalThreshold: 3,
    leadTimeDays: 7,
    countedPendingMethods: everyMethod,
    cashMethods: everyMethod,
    mutedTypes: [],
  };
  const given = {
    timeZone: "Asia/Kolkata",
    dayStartsAt: "06:00:00",
    summaryTime: "21:30:00",
    weeklySummaryDow: 7,
    weeklySummaryTime: "08:15:30",
    lowStockThreshold: 12.5,
    criticalThreshold: 0,
    leadTimeDays: 0,
    countedPendingMethods: ["efectivo", "vale"],
    cashMethods: ["efectivo", "vale"],
    mutedTypes: ["STOCK_BAJO"],
  };
  const settings = async (user: string, patch: Record<string, unknown>) => {
    const { data, errors } = await api.ask(user, update, { patch });
    assert.deepEqual(errors, []);
    return data.updateStoreSettings.storeSettings;
  };

  it("changes what is given, leaves what is absent, and resets what is null", async () => {
    const { user } = await owner();
    assert.deepEqual(await settings(user, {}), defaults);
    assert.deepEqual(await settings(user, given), given);
    assert.deepEqual(await settings(user, { leadTimeDays: 3 }), { ...given, leadTimeDays: 3 });
    assert.deepEqual(await settings(user, { leadTimeDays: null, countedPendingMethods: null }), {
      ...given,
      leadTimeDays: defaults.leadTimeDays,
      countedPendingMethods: everyMethod,
      cashMethods: everyMethod,
    });
    const none = Object.fromEntries(Object.keys(given).map((key) => [key, null]));
    assert.deepEqual(await settings(user, none), defaults);
  });

  it("tells how far the POS's clock is off, which nobody can set", async () => {
    const [one, other] = [await owner(), await owner()];
    await db.pool.query("insert into nexus_engine.pos_clock values ($1, 180, 180, 3, 2)", [
      one.tienda,
    ]);
    const skew = async (user: string) => {
      const { data } = await api.ask(user, "{ storeSettings { posClockSkewMinutes } }");
      return data.storeSettings.posClockSkewMinutes;
    };
    assert.deepEqual([await skew(one.user), await skew(other.user)], [180, null]);
    const { data, errors } = await api.ask(one.user, update, {
      patch: { posClockSkewMinutes: 0 },
    });
    assert.equal(errors[0]?.extensions?.code, "BAD_USER_INPUT");
    assert.ok(!data?.updateStoreSettings);
  });

  it("takes counted methods by their old name too, and an empty list", async () => {
    const { user } = await owner();
    const methods = async (patch: Record<string, unknown>) => {
      const { countedPendingMethods, cashMethods } = await settings(user, patch);
      assert.deepEqual(cashMethods, countedPendingMethods);
      return countedPendingMethods;
    };
    assert.deepEqual(await methods({ countedPendingMethods: [] }), []);
    assert.deepEqual(await methods({ cashMethods: ["vale"] }), ["vale"]);
    assert.deepEqual(await methods({ lowStockThreshold: 12 }), ["vale"]);
    const both = { cashMethods: ["vale"], countedPendingMethods: ["efectivo"] };
    assert.deepEqual(await methods(both), ["efectivo"]);
    assert.deepEqual(await methods({ cashMethods: null }), everyMethod);
  });

  it("is for the caller's store alone", async () => {
    const [one, other] = [await owner(), await owner()];
    await settings(one.user, given);
    const { data } = await api.ask(other.user, "{ storeSettings { timeZone lowStockThreshold } }");
    assert.deepEqual(data.storeSettings, { timeZone: defaults.timeZone, lowStockThreshold: 10 });
  });

  it("of two at once loses neither", async () => {
    const { user } = await owner();
    await settings(user, { criticalThreshold: 1 });
    const { second } = await asRequest(api.pool, user, "commit", async (query) => {
      await query("select nexus_api.update_store_settings($1)", ['{"lead_time_days": 4}']);
      const second = settings(user, { weeklySummaryDow: 4 });
      const waits =
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
      while ((await db.pool.query(waits)).rowCount === 0) await new Promise(setImmediate);
      return { second };
    });
    const now = await second;
    assert.deepEqual([now.leadTimeDays, now.weeklySummaryDow], [4, 4]);
  });

  for (const [field, patch] of [
    ["timeZone", { timeZone: "Mars/Phobos" }],
    ["timeZone", { timeZone: "FOO+3" }],
    ["lowStockThreshold", { lowStockThreshold: -0.001 }],
    ["lowStockThreshold", { lowStockThreshold: 1e12 }],
    ["lowStockThreshold", { lowStockThreshold: 1_000_000.001 }],
    ["criticalThreshold", { lowStockThreshold: 1_000_000, criticalThreshold: 1_000_001 }],
    ["criticalThreshold", { criticalThreshold: -1 }],
    ["criticalThreshold", { criticalThreshold: 11 }],
    ["criticalThreshold", { lowStockThreshold: 2 }],
    ["weeklySummaryDow", { weeklySummaryDow: 0 }],
    ["weeklySummaryDow", { weeklySummaryDow: 8 }],
    ["leadTimeDays", { leadTimeDays: 366 }],
    ["leadTimeDays", { leadTimeDays: 100_000 }],
    ["countedPendingMethods", { countedPendingMethods: [" "] }],
    ["countedPendingMethods", { countedPendingMethods: Array(21).fill("vale") }],
    ["countedPendingMethods", { cashMethods: [" "] }],
    ["mutedTypes", { mutedTypes: ["NADA"] }],
  ] as const) {
    it(`refuses ${JSON.stringify(patch)}, naming the field`, async () => {
      const { tienda, user } = await owner();
      const { data, errors } = await api.ask(user, update, {
        patch: { leadTimeDays: 5, ...patch },
      });
      assert.deepEqual(data, { updateStoreSettings: null });
      assert.deepEqual(
        errors.map((e) => e.extensions),
        [{ code: "BAD_USER_INPUT", field }],
      );
      assert.match(errors[0]?.message ?? "", new RegExp(`^${field}: expected`));
      const { rowCount } = await db.pool.query(
        "select from nexus_engine.store_settings where tienda_id = $1",
        [tienda],
      );
      assert.equal(rowCount, 0, "nothing was changed");
    });
  }

  for (const patch of [
    { summaryTime: "25:00" },
    { summaryTime: "24:00" },
    { dayStartsAt: "24:00" },
    { countedPendingMethods: [null] },
    { cashMethods: [null] },
    { leadTimeDays: 1.5 },
    { tiendaId: randomUUID() },
  ]) {
    it(`refuses ${JSON.stringify(patch)} before it runs`, async () => {
      const { user } = await owner();
      const answer = await api.ask(user, update, { patch });
      assert.deepEqual([answer.status, answer.code], [400, "BAD_USER_INPUT"]);
    });
  }

  it("refuses from SQL what is no setting and what is of another type", async () => {
    const { user } = await owner();
    for (const [patch, column] of [
      [{ tienda_id: randomUUID() }, "tienda_id"],
      [{ updated_at: null }, "updated_at"],
      [{ lead_time_days: "mucho" }, "lead_time_days"],
      [{ counted_pending_methods: [null] }, "counted_pending_methods"],
      [{ cash_methods: [null] }, "counted_pending_methods"],
      [{ low_stock_threshold: "NaN" }, "low_stock_threshold"],
      [{ summary_time: "24:00" }, "summary_time"],
      [{ day_starts_at: "24:00" }, "day_starts_at"],
      [[], "patch"],
      [null, "patch"],
    ] as const) {
      await asRequest(api.pool, user, "rollback", async (query) => {
        const call = query("select * from nexus_api.update_store_settings($1)", [
          patch && JSON.stringify(patch),
        ]);
        await assert.rejects(call, { code: "NX001", column }, JSON.stringify(patch));
      });
    }
  });
});
