import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import fc from "fast-check";
import type { Pool } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { drainOutbox } from "../support/drain.ts";
import { addProduct, addStore, reconcile, setSettings, setStock } from "../support/fixtures.ts";
import { holdsAlways } from "../support/property.ts";

/** A threshold, in thousandths: whole, broken, nothing, the one that the triggers see up to, and above that. */
const threshold = fc.oneof(
  fc.constantFrom(0, 1, 300, 3_000, 5_000, 10_000, 20_000, 20_001, 5_000_000, 1_000_000_000),
  fc.integer({ min: 0, max: 40_000 }),
);

/** Any double precision, most of all what lies at a threshold or at nothing, to the last bit. */
const stock = fc.oneof(
  fc.double(),
  fc.double({ min: -20, max: 40 }),
  fc.constantFrom(
    ...[
      0,
      -0,
      5e-324,
      -5e-324,
      8e-17,
      -2.8e-17,
      0.1 + 0.2,
      0.8 - 0.7 - 0.1,
      9.9999999,
      1e15,
      -1e15,
    ],
    ...[999_999_999.9994, 999_999_999.9999, 1e9, -999_999_999.9999, -1e9],
    ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  ),
  fc
    .tuple(
      fc.oneof(threshold, fc.constantFrom(0, 0, -1)),
      fc.constantFrom(-0.001, -0.0005, 0, 0.0005, 0.001),
      fc.integer({ min: -3, max: 3 }),
    )
    .map(([thousandths, more, ulps]) => beside(thousandths / 1000 + more, ulps)),
);

/** The double that is so many steps away. */
function beside(value: number, steps: number): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  view.setBigInt64(0, view.getBigInt64(0) + BigInt(value === 0 ? Math.abs(steps) : steps));
  return view.getFloat64(0);
}

const shop = fc.record({
  low: threshold,
  critical: threshold,
  products: fc.array(fc.record({ stock, own: fc.option(threshold, { freq: 3 }) }), {
    minLength: 40,
    maxLength: 40,
  }),
});
type Opened = { store: string; ids: string[] };
type Shop = typeof shop extends fc.Arbitrary<infer T> ? T : never;

/** What is said of a product: the stock and the threshold, as the message has them, in thousandths. */
type Said = {
  tipo: string;
  nivel: string;
  mensaje: string;
  stock: string;
  umbral: string | null;
  unidad: string;
};

describe("a stock of any double precision", () => {
  let db: TestDatabase;
  let worker: Pool;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
  });
  after(() => db.drop());
  // The last run of a property may outlast it.
  let run: Promise<void> = Promise.resolve();
  afterEach(() => run.catch(() => {}));
  const property = <T>(arbitrary: fc.Arbitrary<T>, holds: (value: T) => Promise<void>) =>
    fc.asyncProperty(arbitrary, (value) => {
      run = holds(value);
      return run;
    });

  async function open(): Promise<Opened> {
    const store = await addStore(db.pool);
    const ids: string[] = [];
    for (let n = 0; n < 40; n += 1) ids.push(await addProduct(db.pool, store, { stock: 500 }));
    return { store, ids };
  }

  async function furnish({ store, ids }: Opened, { low, critical, products }: Shop): Promise<void> {
    await setSettings(db.pool, store, {
      low_stock_threshold: low / 1000,
      critical_threshold: Math.min(critical, low) / 1000,
    });
    await db.pool.query(
      `with product as (
         select * from unnest($2::uuid[], $3::float8[], $4::numeric[]) p (id, stock, own)
       ), forgotten as (
         delete from nexus_engine.product_settings ps using product p where ps.producto_id = p.id and p.own is null
       ), own as (
         insert into nexus_engine.product_settings as ps (tienda_id, producto_id, min_stock)
         select $1, p.id, p.own from product p where p.own is not null
         on conflict (producto_id) do update set min_stock = excluded.min_stock
       )
       update public.productos t set stock_actual = p.stock from product p where t.id = p.id`,
      [
        store,
        ids,
        products.map((p) => p.stock),
        products.map((p) => (p.own === null ? null : p.own / 1000)),
      ],
    );
  }

  async function said(store: string): Promise<Map<string, Said>> {
    const { rows } = await db.pool.query<Said & { id: string }>(
      `select extra_data ->> 'producto_id' as id, tipo, nivel_urgencia as nivel, mensaje,
         extra_data ->> 'stock_actual' as stock, extra_data ->> 'umbral' as umbral, extra_data ->> 'unidad' as unidad
       from public.insights where tienda_id = $1 and is_active`,
      [store],
    );
    return new Map(rows.map((row) => [row.id, row]));
  }

  /** The band that follows from a number as it is said, and from nothing else. */
  function expected(shown: string | undefined, low: number, critical: number): string | undefined {
    if (shown === undefined || thousandths(shown) > low) return undefined;
    const at = thousandths(shown);
    if (at <= 0) return "PRODUCTO_SIN_STOCK ALTA";
    return `STOCK_BAJO ${at <= critical ? "CRITICA" : 2 * at <= low ? "ALTA" : "MEDIA"}`;
  }

  it("is one number wherever it is compared, shown, watched or counted", async (t) => {
    const opened = await open();
    const { store, ids } = opened;
    await holdsAlways(
      t,
      property(shop, async (shop) => {
        await furnish(opened, shop);
        await drainOutbox(worker);
        await reconcile(worker, [store], new Date(), ["STOCK_BAJO"]);
        const told = await said(store);
        const { rows } = await db.pool.query<{
          id: string;
          shown: string | null;
          watched: string | null;
        }>(
          `select p.id, nexus_engine.quantity(p.stock_actual)::text as shown,
             (select w.is_out::text from nexus_engine.stock_watch w where w.producto_id = p.id) as watched
           from public.productos p where p.tienda_id = $1`,
          [store],
        );
        const counts = { low: 0, out: 0, negative: 0 };
        for (const { id, shown, watched } of rows) {
          const product = shop.products[ids.indexOf(id)];
          const low = product?.own ?? shop.low;
          const what = `${JSON.stringify(product)} of ${shop.low} and ${shop.critical}, shown as ${shown}`;
          const band = expected(shown ?? undefined, low, Math.min(shop.critical, shop.low));
          const alert = told.get(id);
          assert.equal(alert && `${alert.tipo} ${alert.nivel}`, band, what);
          assert.equal(watched, band ? String(band.startsWith("PRODUCTO")) : null, what);
          if (!alert || shown === null) continue;
          assert.equal(alert.stock, shown, what);
          assert.deepEqual(numbersIn(alert.mensaje), inMessage(alert), what);
          if (alert.umbral !== null) assert.equal(thousandths(alert.umbral), low, what);
          counts[alert.umbral === null ? "out" : "low"] += 1;
          if (thousandths(shown) < 0) counts.negative += 1;
        }
        const { rows: summary } = await db.pool.query(
          "select s.low, s.out_of_stock as out, s.negative from nexus_engine.stock_summary($1) s",
          [store],
        );
        assert.deepEqual(summary, [counts]);
      }),
      3,
    );
  });

  it("is noted by the triggers wherever something else is said of it", async (t) => {
    const opened = await open();
    const { store, ids } = opened;
    const settings = { low: 20_000, critical: 3_000 };
    await holdsAlways(
      t,
      property(fc.array(stock, { minLength: 40, maxLength: 40 }), async (stocks) => {
        const products = ids.map(() => ({ stock: 500, own: null }));
        await furnish(opened, { ...settings, products });
        await settled();
        await furnish(opened, {
          ...settings,
          products: products.map((p, n) => ({ ...p, stock: stocks[n] ?? 0 })),
        });
        // The settings did not change, and so only events can have brought what is told now.
        await drainOutbox(worker);
        const { rows: outs } = await db.pool.query(
          `select p.stock_actual from public.productos p
           where p.tienda_id = $1 and (nexus_engine.quantity(p.stock_actual) <= 0) is true
             is distinct from exists (
               select from nexus_engine.stock_out o where o.producto_id = p.id and o.back_at is null)`,
          [store],
        );
        assert.deepEqual(outs, [], "what ran out, and nothing else, is recorded as that");
        const { rows } = await db.pool.query(
          "select nexus_engine.check_stock_watch(array[$1]::uuid[], now()) as repaired",
          [store],
        );
        assert.deepEqual(rows, [{ repaired: 0 }]);
      }),
      2,
    );
  });

  /** No recheck is left over from a change of settings. */
  async function settled(): Promise<void> {
    await drainOutbox(worker);
    await db.pool.query("delete from nexus_engine.stock_recheck");
    await db.pool.query(
      "alter table nexus_engine.store_settings disable trigger check_stock_watch",
    );
  }

  it("that is nothing after rounding is out, and not less than nothing", async () => {
    const shop = await addStore(db.pool);
    const product = await addProduct(db.pool, shop, { nombre: "Yerba", sku: "Y", tipo: "pesable" });
    for (const [stock, message] of [
      [0.8 - 0.7 - 0.1, "🔴 Se agotó «Yerba» (SKU Y): reponé para no perder ventas."],
      [-2.8e-17, "🔴 Se agotó «Yerba» (SKU Y): reponé para no perder ventas."],
      [0.1 + 0.2, "🚨 Te quedan 0,3 kg de «Yerba» (SKU Y). Tu mínimo es 0,3 kg: reponé pronto."],
    ] as const) {
      await db.pool.query(
        "insert into nexus_engine.product_settings (tienda_id, producto_id, min_stock) values ($1, $2, 0.3) on conflict do nothing",
        [shop, product],
      );
      await setStock(db.pool, product, stock);
      await drainOutbox(worker);
      const { rows } = await db.pool.query(
        "select mensaje, (select s.negative from nexus_engine.stock_summary($1) s) as negative from public.insights where tienda_id = $1 and is_active",
        [shop],
      );
      assert.deepEqual(rows, [{ mensaje: message, negative: 0 }]);
    }
  });
});

/** Exact: no number here has more than three decimals. */
function thousandths(decimal: string): number {
  const [whole = "", fraction = ""] = decimal.split(".");
  return Number(`${whole}${fraction.padEnd(3, "0")}`);
}

/** The numbers of a message, as extra_data has them. */
function numbersIn(message: string): string[] {
  return [...message.matchAll(/(-?[\d.]+(?:,\d+)?) (?:unidad|unidades)\b/g)].map(
    ([, number = ""]) => number.replaceAll(".", "").replace(",", "."),
  );
}

function inMessage({ tipo, stock, umbral }: Said): string[] {
  if (tipo === "STOCK_BAJO") return [stock, umbral ?? ""];
  return stock.startsWith("-") ? [stock] : [];
}
