import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addSale, addStore, findings } from "../support/fixtures.ts";

// Monday 09:00 in Buenos Aires; the week is Monday 16/11 to Sunday 22/11, 16/11 03:00Z to 23/11 03:00Z.
const weeklySummary = "2026-11-23T12:00:00Z";

describe("VENTAS_SEMANALES", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  const weekly = async (store: string, asOf = weeklySummary) =>
    (await findings(db.pool, "VENTAS_SEMANALES", [store], asOf))[0];

  it("takes the seven business days before the weekly summary, split against the week before", async () => {
    const store = await addStore(db.pool);
    for (const [fecha, total] of [
      ["2026-11-09T03:00:00Z", 100],
      ["2026-11-16T02:59:59Z", 100],
      ["2026-11-16T03:00:00Z", 60],
      ["2026-11-19T12:00:00Z", 60],
      ["2026-11-23T02:59:59Z", 60],
      ["2026-11-23T03:00:00Z", 5000],
    ] as const) {
      await addSale(db.pool, store, { fecha, total });
    }
    const found = await weekly(store);
    assert.equal(found?.subject, "2026-11-16");
    assert.equal(
      found?.mensaje,
      "📅 Semana del 16/11 al 22/11: vendiste $ 180,00 en 3 tickets (promedio $ 60,00). Frente a la semana anterior: ventas -10,0 %, tickets +50,0 %, ticket promedio -40,0 %.",
    );
    assert.deepEqual(found?.extra_data, {
      semana_desde: "2026-11-16",
      semana_hasta: "2026-11-22",
      fecha_desde: "2026-11-16T03:00:00Z",
      fecha_hasta: "2026-11-23T03:00:00Z",
      zona_horaria: "America/Argentina/Buenos_Aires",
      total_vendido: 180,
      cantidad_ventas: 3,
      ticket_promedio: 60,
      vendido_sin_devoluciones: 180,
      tickets_sin_devoluciones: 3,
      devoluciones: 0,
      cantidad_devoluciones: 0,
      pendiente_de_cobro: 0,
      semana_anterior: { total_vendido: 200, cantidad_ventas: 2, ticket_promedio: 100 },
      cambio_porcentaje: -10,
      cambio_tickets_porcentaje: 50,
      cambio_ticket_promedio_porcentaje: -40,
      filas_excluidas: 0,
    });
    assert.equal(
      (await weekly(store, "2026-11-23T11:59:59Z"))?.subject,
      "2026-11-09",
      "not before 09:00",
    );
  });

  it("says nothing of a week before that had no sales", async () => {
    const store = await addStore(db.pool);
    await addSale(db.pool, store, { fecha: "2026-11-18T12:00:00Z", total: 60 });
    assert.equal(
      (await weekly(store))?.mensaje,
      "📅 Semana del 16/11 al 22/11: vendiste $ 60,00 en 1 ticket.",
    );
  });

  it("comes on the weekday and at the time that the store wants", async () => {
    const store = await addStore(db.pool, {
      settings: { weekly_summary_dow: 5, weekly_summary_time: "07:00" },
    });
    await addSale(db.pool, store, { fecha: "2026-11-18T12:00:00Z", total: 60 });
    assert.equal(await weekly(store, "2026-11-20T09:59:59Z"), undefined);
    const found = await weekly(store, "2026-11-20T10:00:00Z");
    assert.equal(found?.extra_data["semana_desde"], "2026-11-13");
    assert.equal(found?.extra_data["semana_hasta"], "2026-11-19");
  });
});
