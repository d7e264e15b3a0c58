import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addSale, addStore, addUser } from "../support/fixtures.ts";
import { rollUp } from "../support/rollups.ts";
import { type Api, startApi } from "./api.ts";

/** The methods of the POS's checkout, which leaves each of them pendiente. */
const methods = ["efectivo", "tarjeta_debito", "tarjeta_credito", "transferencia"];

describe("sales by method of payment", () => {
  let db: TestDatabase;
  let api: Api;
  let tienda: string;
  let user: string;
  before(async () => {
    db = await createTestDatabase();
    api = await startApi(db);
    tienda = await addStore(db.pool);
    user = await addUser(db.pool, tienda);
    const yesterday = new Date(Date.now() - 30 * 3_600_000);
    for (const [n, metodoPago] of methods.entries()) {
      const sale = { fecha: yesterday, metodoPago, statusPago: "pendiente" };
      await addSale(db.pool, tienda, { ...sale, total: 10 * (n + 1) });
    }
    await addSale(db.pool, tienda, { fecha: yesterday, metodoPago: "transferencia", total: 100 });
    await addSale(db.pool, tienda, { fecha: yesterday, total: 1000, statusPago: "anulado" });
  });
  after(async () => {
    await api.close();
    await db.drop();
  });

  const ask = async () => {
    const { data, errors } = await api.ask(
      user,
      `{ salesByPaymentMethod { metodoPago total tickets sharePercent pending }
         salesSummary { total pending month { total pending } }
         salesByDay { total pending } }`,
    );
    assert.deepEqual(errors, []);
    return data;
  };
  const setMethods = async (patch: Record<string, unknown>) => {
    const { data, errors } = await api.ask(
      user,
      `mutation ($patch: SettingsPatch!) { updateStoreSettings(input: {patch: $patch}) {
         storeSettings { countedPendingMethods cashMethods } } }`,
      { patch },
    );
    assert.deepEqual(errors, []);
    return data.updateStoreSettings.storeSettings;
  };
  const line = (
    metodoPago: string,
    total: number,
    tickets: number,
    share: number,
    pending: number,
  ) => ({
    metodoPago,
    total,
    tickets,
    sharePercent: share,
    pending,
  });

  it("count every checkout by default, and say what is not known to be paid", async () => {
    for (const rolledUp of [false, true]) {
      if (rolledUp) await rollUp(db.pool);
      const { salesByPaymentMethod, salesSummary, salesByDay } = await ask();
      assert.deepEqual(salesByPaymentMethod, [
        line("transferencia", 140, 2, 70, 40),
        line("tarjeta_credito", 30, 1, 15, 30),
        line("tarjeta_debito", 20, 1, 10, 20),
        line("efectivo", 10, 1, 5, 0),
      ]);
      const sold = { total: 200, pending: 90 };
      assert.deepEqual(salesSummary, { ...sold, month: sold });
      assert.deepEqual(
        salesByDay.filter((day: { total: number }) => day.total !== 0),
        [sold],
      );
    }
  });

  it("count what is paid alone where no method counts while it is pending", async () => {
    assert.deepEqual(await setMethods({ countedPendingMethods: [] }), {
      countedPendingMethods: [],
      cashMethods: [],
    });
    for (const rolledUp of [false, true]) {
      if (rolledUp) await rollUp(db.pool);
      const { salesByPaymentMethod, salesSummary } = await ask();
      assert.deepEqual(salesByPaymentMethod, [line("transferencia", 100, 1, 100, 0)]);
      assert.deepEqual(salesSummary.pending, 0);
    }
  });

  it("can still be set by the name of the release before", async () => {
    assert.deepEqual(await setMethods({ cashMethods: ["efectivo"] }), {
      countedPendingMethods: ["efectivo"],
      cashMethods: ["efectivo"],
    });
    assert.deepEqual((await ask()).salesSummary.total, 110);
    assert.deepEqual(
      await setMethods({ cashMethods: ["efectivo"], countedPendingMethods: ["tarjeta_debito"] }),
      { countedPendingMethods: ["tarjeta_debito"], cashMethods: ["tarjeta_debito"] },
    );
    assert.deepEqual((await setMethods({ countedPendingMethods: null })).cashMethods, methods);
  });

  it("are none where nothing was sold, and have no share of a total below zero", async () => {
    const other = await addStore(db.pool);
    const owner = await addUser(db.pool, other);
    const query = "{ salesByPaymentMethod { metodoPago total sharePercent } }";
    assert.deepEqual((await api.ask(owner, query)).data.salesByPaymentMethod, []);
    await addSale(db.pool, other, { fecha: new Date(), total: -5 });
    assert.deepEqual((await api.ask(owner, query)).data.salesByPaymentMethod, [
      { metodoPago: "efectivo", total: -5, sharePercent: null },
    ]);
  });
});
