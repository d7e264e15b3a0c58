import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addSale, addStore, findings, reconcile, setSettings } from "../support/fixtures.ts";

// Buenos Aires is three hours behind UTC: the business day 24/11 is 24/11 03:00Z to 25/11 03:00Z.
const summaryTime = "2026-11-24T23:00:00Z";
const endOfDay = "2026-11-25T03:00:00Z";

describe("VENTAS_DIARIAS", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  const daily = async (store: string, asOf = endOfDay) =>
    (await findings(db.pool, "VENTAS_DIARIAS", [store], asOf))[0];

  it("counts what was paid and what is pending, in the business day only", async () => {
    const store = await addStore(db.pool);
    for (const [fecha, total, statusPago, metodoPago] of [
      ["2026-11-24T02:59:59.999Z", 1, "pagado", "efectivo"], // the day before
      ["2026-11-24T03:00:00Z", 100.1, "pagado", "tarjeta_credito"],
      ["2026-11-24T12:00:00Z", 200.2, "pendiente", "efectivo"],
      ["2026-11-24T12:00:00Z", 4000, "pendiente", "tarjeta_debito"],
      ["2026-11-24T12:00:00Z", 500, "pendiente", "cheque"], // not a method that counts
      ["2026-11-24T12:00:00Z", 8000, "anulado", "efectivo"],
      ["2026-11-25T02:59:59.999Z", 934.2, "pagado", "transferencia"],
      ["2026-11-25T03:00:00Z", 2, "pagado", "efectivo"], // the day after
    ] as const) {
      await addSale(db.pool, store, { fecha, total, statusPago, metodoPago });
    }
    const found = await daily(store);
    assert.equal(found?.subject, "2026-11-24");
    assert.equal(found?.nivel_urgencia, "BAJA");
    assert.equal(
      found?.mensaje,
      "📊 El martes 24/11 vendiste $ 5.234,50 en 4 tickets (promedio $ 1.308,63). De ese total, $ 4.000,00 todavía no figuran como cobrados (tarjetas, transferencias).",
    );
    assert.deepEqual(found?.extra_data, {
      fecha: "2026-11-24",
      fecha_desde: "2026-11-24T03:00:00Z",
      fecha_hasta: "2026-11-25T03:00:00Z",
      zona_horaria: "America/Argentina/Buenos_Aires",
      dia_completo: true,
      vendido_hasta: "2026-11-25T03:00:00Z",
      total_vendido: 5234.5,
      cantidad_ventas: 4,
      ticket_promedio: 1308.63,
      vendido_sin_devoluciones: 5234.5,
      tickets_sin_devoluciones: 4,
      devoluciones: 0,
      cantidad_devoluciones: 0,
      pendiente_de_cobro: 4000,
      promedio_mismo_dia: null,
      semanas_comparadas: 0,
      cambio_porcentaje: null,
      filas_excluidas: 0,
    });
  });

  it("tells at the summary time what was sold so far, beside the same weekdays up to that time", async () => {
    const store = await addStore(db.pool);
    for (const [fecha, total] of [
      ["2026-11-17T22:59:59.999Z", 200],
      ["2026-11-17T23:00:00Z", 9000], // after 20:00
      ["2026-11-24T03:00:00Z", 100],
      ["2026-11-24T22:59:59.999Z", 110],
      ["2026-11-24T23:00:00Z", 5000],
    ] as const) {
      await addSale(db.pool, store, { fecha, total });
    }
    const found = await daily(store, summaryTime);
    assert.equal(
      found?.mensaje,
      "📈 El martes 24/11 hasta las 20:00 vendiste $ 210,00 en 2 tickets (promedio $ 105,00): 5,0 % más que el martes anterior con ventas hasta esa hora ($ 200,00).",
    );
    const { dia_completo, vendido_hasta, fecha_hasta, total_vendido } = found?.extra_data ?? {};
    assert.deepEqual(
      [dia_completo, vendido_hasta, fecha_hasta, total_vendido],
      [false, "2026-11-24T23:00:00Z", "2026-11-25T03:00:00Z", 210],
    );
    assert.equal(
      (await daily(store))?.mensaje,
      "📉 El martes 24/11 vendiste $ 5.210,00 en 3 tickets (promedio $ 1.736,67): 43,4 % menos que el martes anterior con ventas ($ 9.200,00).",
    );
  });

  it("counts pending tickets of the methods that the store says, and of none", async () => {
    const store = await addStore(db.pool, {
      settings: { counted_pending_methods: ["transferencia"] },
    });
    for (const [metodoPago, total] of [
      ["efectivo", 10],
      ["transferencia", 20],
    ] as const) {
      await addSale(db.pool, store, {
        fecha: "2026-11-24T12:00:00Z",
        total,
        statusPago: "pendiente",
        metodoPago,
      });
    }
    const { total_vendido, cantidad_ventas } = (await daily(store))?.extra_data ?? {};
    assert.deepEqual([total_vendido, cantidad_ventas], [20, 1]);
    await setSettings(db.pool, store, { counted_pending_methods: [] });
    assert.equal(await daily(store), undefined);
  });

  it("compares with the same weekday of the last four weeks, where there were sales", async () => {
    const store = await addStore(db.pool);
    await addSale(db.pool, store, { fecha: "2026-11-24T12:00:00Z", total: 300 });
    await addSale(db.pool, store, { fecha: "2026-11-17T12:00:00Z", total: 200 });
    await addSale(db.pool, store, { fecha: "2026-11-16T12:00:00Z", total: 999 }); // a Monday
    assert.equal(
      (await daily(store))?.mensaje,
      "📈 El martes 24/11 vendiste $ 300,00 en 1 ticket: 50,0 % más que el martes anterior con ventas ($ 200,00).",
    );
    await addSale(db.pool, store, { fecha: "2026-10-27T12:00:00Z", total: 600 });
    await addSale(db.pool, store, { fecha: "2026-10-20T12:00:00Z", total: 9999 }); // five weeks ago
    const found = await daily(store);
    assert.equal(
      found?.mensaje,
      "📉 El martes 24/11 vendiste $ 300,00 en 1 ticket: 25,0 % menos que el promedio de tus últimos 2 martes ($ 400,00).",
    );
    assert.deepEqual(
      [
        found?.extra_data["promedio_mismo_dia"],
        found?.extra_data["semanas_comparadas"],
        found?.extra_data["cambio_porcentaje"],
      ],
      [400, 2, -25],
    );
  });

  it("is neither stopped nor spoiled by amounts and dates that cannot be right", async () => {
    const store = await addStore(db.pool);
    const fecha = "2026-11-24T12:00:00Z";
    for (const total of ["Infinity", "-Infinity", "NaN", "1e300", "50"])
      await addSale(db.pool, store, { fecha, total });
    await addSale(db.pool, store, { fecha: "2027-11-24T12:00:00Z", createdAt: fecha, total: 70 });
    const found = await daily(store);
    assert.equal(found?.extra_data["total_vendido"], 50);
    assert.equal(found?.extra_data["cantidad_ventas"], 1);
    assert.equal(found?.extra_data["filas_excluidas"], 5);
    const rows = await reconcile(db.poolAs("nexus_worker"), [store], "2026-11-24T23:01:00Z", [
      "VENTAS_DIARIAS",
    ]);
    assert.deepEqual(
      rows.map((row) => [row.inserted, row.failed]),
      [[1, 0]],
    );
    const nextYear = await daily(store, "2027-11-25T03:00:00Z");
    assert.equal(nextYear, undefined, "when its date comes it is still not a sale of that day");
  });

  it("adds up cents exactly", async () => {
    const store = await addStore(db.pool);
    for (let i = 0; i < 100; i += 1)
      await addSale(db.pool, store, { fecha: "2026-11-24T12:00:00Z", total: 0.1 + 0.2 });
    await addSale(db.pool, store, { fecha: "2026-11-24T12:00:00Z", total: 99999999.99 });
    assert.equal((await daily(store))?.extra_data["total_vendido"], 100000029.99);
  });

  it("has nothing to say about a day without sales", async () => {
    const store = await addStore(db.pool);
    assert.equal(await daily(store), undefined);
  });

  it("begins the day at the store's own time, and tells it at its summary time", async () => {
    const store = await addStore(db.pool);
    // Kolkata is five and a half hours before UTC: 06:00 is 00:30Z, 13:30 is 08:00Z.
    await setSettings(db.pool, store, {
      day_starts_at: "06:00",
      summary_time: "13:30",
      time_zone: "Asia/Kolkata",
    });
    for (const [fecha, total] of [
      ["2026-11-24T00:29:59Z", 1],
      ["2026-11-24T00:30:00Z", 5],
      ["2026-11-24T07:59:59Z", 10],
      ["2026-11-24T08:00:00Z", 20],
      ["2026-11-25T00:29:59Z", 40],
      ["2026-11-25T00:30:00Z", 80],
    ] as const) {
      await addSale(db.pool, store, { fecha, total });
    }
    for (const [asOf, subject, total] of [
      ["2026-11-24T07:59:59Z", "2026-11-23", 1],
      ["2026-11-24T08:00:00Z", "2026-11-24", 15],
      ["2026-11-25T00:29:59Z", "2026-11-24", 15],
      ["2026-11-25T00:30:00Z", "2026-11-24", 75],
      ["2026-11-25T08:00:00Z", "2026-11-25", 80],
    ] as const) {
      const found = await daily(store, asOf);
      assert.deepEqual(
        [found?.subject, found?.extra_data["total_vendido"]],
        [subject, total],
        asOf,
      );
    }
  });
});
