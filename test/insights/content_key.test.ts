import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore } from "../support/fixtures.ts";

// Few values and many repetitions: two products then differ in one input only, have their name and
// sku swapped, or the same stock under other thresholds.
const text = fc.constantFrom("", "a", "b", "ab", "ñandú");
const product = fc.record({
  nombre: text,
  sku: text,
  tipo: fc.constantFrom("general", "pesable"),
  atributos: fc.constantFrom(null, { unidad_medida: "kg" }, { unidad_medida: "g" }, { talle: "S" }),
  stock_actual: fc.constantFrom(
    ...[-3, -1.5, -0.0004, 0, 0.0004, 0.001, 1, 1.25, 3, 3.0004, 4, 5, 6, 8, 8.5, 10, 12, 60],
  ),
  is_active: fc.boolean(),
  min_stock: fc.constantFrom(null, 3, 8, 8.5, 20),
});
const shop = fc.record({
  low_stock_threshold: fc.constantFrom(10, 12.5, 20),
  critical_threshold: fc.constantFrom(0, 3, 5),
  products: fc.array(product, { minLength: 3, maxLength: 3 }),
});

type Shop = typeof shop extends fc.Arbitrary<infer T> ? T : never;

describe("content_key", () => {
  let db: TestDatabase;
  let types: string[];
  const stores: string[] = [];
  const products: string[][] = [];

  before(async () => {
    db = await createTestDatabase();
    for (let i = 0; i < 2; i += 1) {
      const store = await addStore(db.pool);
      stores.push(store);
      products.push(await Promise.all([0, 1, 2].map(() => addProduct(db.pool, store))));
    }
    const { rows } = await db.pool.query<{ tipo: string }>(
      "select tipo from nexus_engine.insight_type where kind = 'state' order by tipo",
    );
    types = rows.map(({ tipo }) => tipo);
  });
  after(() => db.drop());

  /** Makes the two stores what is asked for, and returns every finding about them. */
  async function findingsOf(shops: Shop[], asOf = "2026-11-24T15:00:00Z") {
    await db.pool.query(
      `with shop as (
         select s.store, s.shop from unnest($1::uuid[], $2::jsonb[]) s (store, shop)
       ), settings as (
         insert into nexus_engine.store_settings as k (tienda_id, low_stock_threshold, critical_threshold)
         select store, (shop ->> 'low_stock_threshold')::numeric, (shop ->> 'critical_threshold')::numeric from shop
         on conflict (tienda_id) do update set
           low_stock_threshold = excluded.low_stock_threshold, critical_threshold = excluded.critical_threshold
       ), product as (
         select s.store, p.id, v.* from unnest($3::uuid[], $4::uuid[], $5::jsonb[]) p (store, id, product)
         join shop s on s.store = p.store
         cross join lateral jsonb_to_record(p.product) v (nombre text, sku text, tipo text, atributos jsonb, stock_actual float8, is_active boolean, min_stock numeric)
       ), forgotten as (
         delete from nexus_engine.product_settings ps using product p where ps.producto_id = p.id and p.min_stock is null
       ), own as (
         insert into nexus_engine.product_settings as ps (tienda_id, producto_id, min_stock)
         select store, id, min_stock from product where min_stock is not null
         on conflict (producto_id) do update set min_stock = excluded.min_stock
       )
       update public.productos t set nombre = p.nombre, sku = p.sku, tipo = p.tipo, atributos = p.atributos,
         stock_actual = p.stock_actual, is_active = p.is_active
       from product p where t.id = p.id`,
      [
        stores,
        shops,
        stores.flatMap((store) => [store, store, store]),
        products.flat(),
        shops.flatMap((one) => one.products),
      ],
    );
    await db.pool.query("select nexus_engine.update_stock_watch($1, now())", [stores]);
    const union = types.map(
      (tipo) =>
        `select '${tipo}' as tipo, f.content_key::text as key, to_jsonb(f) - 'content_key' as content
         from nexus_engine.insight_${tipo.toLowerCase()}($1, $2) f`,
    );
    const { rows } = await db.pool.query<{ tipo: string; key: string | null; content: object }>(
      union.join(" union all "),
      [stores, asOf],
    );
    return rows.map((row) => ({ ...row, content: JSON.stringify(row.content) }));
  }

  it("stands for exactly one subject and content, in every type of kind state", async () => {
    const contents = new Map(types.map((tipo) => [tipo, new Map<string, string>()]));
    const check = async (shops: Shop[]) => {
      for (const { tipo, key, content } of await findingsOf(shops)) {
        assert.notEqual(key, null, `${tipo} gives its findings a content_key`);
        const known = contents.get(tipo) as Map<string, string>;
        const before = known.get(key as string) ?? content;
        assert.equal(content, before, `${tipo}: one content_key, two contents`);
        known.set(key as string, content);
      }
    };
    await fc.assert(fc.asyncProperty(fc.array(shop, { minLength: 2, maxLength: 2 }), check), {
      numRuns: 250,
      endOnFailure: true,
    });
    for (const [tipo, known] of contents) {
      assert.ok(known.size > 100, `the generated data gives ${tipo} findings: extend it`);
    }
  });

  it("follows what is said, not the time at which it is asked for", async () => {
    const shops = fc.sample(shop, { numRuns: 2, seed: 7 });
    const said = await findingsOf(shops);
    assert.ok(said.length > 0);
    assert.deepEqual(await findingsOf(shops, "2026-11-26T15:00:00Z"), said);
  });
});
