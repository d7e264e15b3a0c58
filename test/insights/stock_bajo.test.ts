import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore, findings } from "../support/fixtures.ts";

describe("STOCK_BAJO", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  const urgencies = async (settings: Record<string, unknown> | undefined, stocks: number[]) => {
    const store = await addStore(db.pool, settings ? { settings } : {});
    for (const stock of stocks) await addProduct(db.pool, store, { stock, sku: String(stock) });
    const found = await findings(db.pool, "STOCK_BAJO", [store]);
    return Object.fromEntries(
      found.map((f) => [f.extra_data["producto_sku"], f.nivel_urgencia]).sort(),
    );
  };

  it("is CRITICA at or below 3, ALTA at or below half the threshold, else MEDIA", async () => {
    assert.deepEqual(await urgencies(undefined, [-1, 0, 0.5, 3, 3.5, 5, 5.001, 10, 10.001]), {
      "0.5": "CRITICA",
      "3": "CRITICA",
      "3.5": "ALTA",
      "5": "ALTA",
      "5.001": "MEDIA",
      "10": "MEDIA",
    });
  });

  it("follows the store's own thresholds", async () => {
    assert.deepEqual(
      await urgencies({ low_stock_threshold: 40, critical_threshold: 5 }, [5, 6, 20, 21, 40, 41]),
      { "5": "CRITICA", "6": "ALTA", "20": "ALTA", "21": "MEDIA", "40": "MEDIA" },
    );
  });

  it("says units and kilos as an owner reads them, with the numbers of extra_data", async () => {
    const store = await addStore(db.pool);
    const id = await addProduct(db.pool, store, {
      nombre: "Queso cremoso",
      sku: "Q-1",
      tipo: "pesable",
      stock: 3.25,
    });
    await addProduct(db.pool, store, { nombre: "Yerba 1 kg", sku: "Y-1", stock: 1 });
    await addProduct(db.pool, store, { nombre: "Tornillo 'T1'", sku: "T-1", stock: 7 });
    const found = (await findings(db.pool, "STOCK_BAJO", [store])).sort((a, b) =>
      a.mensaje.localeCompare(b.mensaje),
    );
    assert.deepEqual(
      found.map((f) => f.mensaje).sort(),
      [
        "⚠️ Te quedan 3,25 kg de «Queso cremoso» (SKU Q-1). Tu mínimo es 10 kg: reponé pronto.",
        "📦 Te quedan 7 unidades de «Tornillo 'T1'» (SKU T-1). Tu mínimo es 10 unidades: reponé pronto.",
        "🚨 Te queda 1 unidad de «Yerba 1 kg» (SKU Y-1). Tu mínimo es 10 unidades: reponé pronto.",
      ].sort(),
    );
    const cheese = found.find((f) => f.subject === id);
    assert.deepEqual(cheese?.extra_data, {
      producto_id: id,
      producto_nombre: "Queso cremoso",
      producto_sku: "Q-1",
      stock_actual: 3.25,
      umbral: 10,
      unidad: "kg",
    });
  });

  it("says the unit in which the POS sells a weighed product, kilos where it says none that is known", async () => {
    const store = await addStore(db.pool);
    const units: [string, unknown, string][] = [
      ["general", { unidad_medida: "kg" }, "unidad"],
      ["ropa", { talle: "S", variantes: [{ stock: 1 }] }, "unidad"],
      ...(["kg", "g", "lt", "ml"] as const).map((unidad): [string, unknown, string] => [
        "pesable",
        { unidad_medida: unidad },
        unidad,
      ]),
      ...[
        undefined,
        null,
        {},
        { unidad_medida: null },
        { unidad_medida: "arroba" },
        { unidad_medida: { kg: 1 } },
        { unidad_medida: ["g"] },
        ["g"],
        "g",
        7,
        true,
      ].map((atributos): [string, unknown, string] => ["pesable", atributos, "kg"]),
    ];
    for (const [n, [tipo, atributos]] of units.entries()) {
      const id = await addProduct(db.pool, store, { tipo, stock: 2.5, sku: String(n) });
      await db.pool.query("update public.productos set atributos = $2 where id = $1", [
        id,
        atributos === undefined ? null : JSON.stringify(atributos),
      ]);
    }
    const found = await findings(db.pool, "STOCK_BAJO", [store]);
    const bySku = new Map(found.map((f) => [f.extra_data["producto_sku"], f]));
    for (const [n, [tipo, atributos, unidad]] of units.entries()) {
      const said = bySku.get(String(n));
      const word = unidad === "unidad" ? "unidades" : unidad;
      assert.equal(said?.extra_data["unidad"], unidad, `${tipo} ${JSON.stringify(atributos)}`);
      assert.match(
        said?.mensaje ?? "",
        new RegExp(`quedan 2,5 ${word} de .* Tu mínimo es 10 ${word}:`),
      );
    }
  });
});
