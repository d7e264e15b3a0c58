import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore, findings } from "../support/fixtures.ts";

describe("PRODUCTO_SIN_STOCK", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  it("takes zero and negative stock, always ALTA, and leaves STOCK_BAJO the rest", async () => {
    const store = await addStore(db.pool);
    const out = await addProduct(db.pool, store, { nombre: "Fideos", sku: "F-1", stock: 0 });
    const negative = await addProduct(db.pool, store, {
      nombre: "Jamón cocido",
      sku: "J-1",
      tipo: "pesable",
      stock: -1.5,
    });
    await addProduct(db.pool, store, { stock: 0.001 });
    const found = await findings(db.pool, "PRODUCTO_SIN_STOCK", [store]);
    assert.deepEqual(
      new Map(
        found.map((f) => [f.subject, [f.nivel_urgencia, f.mensaje, f.extra_data["stock_actual"]]]),
      ),
      new Map([
        [out, ["ALTA", "🔴 Se agotó «Fideos» (SKU F-1): reponé para no perder ventas.", 0]],
        [
          negative,
          [
            "ALTA",
            "🔴 «Jamón cocido» (SKU J-1) figura con -1,5 kg: se vendió más de lo cargado. Contalo y corregí el stock.",
            -1.5,
          ],
        ],
      ]),
    );
    const low = await findings(db.pool, "STOCK_BAJO", [store]);
    assert.equal(low.length, 1);
  });
});
