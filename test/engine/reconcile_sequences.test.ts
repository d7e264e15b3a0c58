import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import type { Pool } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore, reconcile, setSettings, setStock } from "../support/fixtures.ts";
import { holdsAlways } from "../support/property.ts";
import { dropTriggers } from "../support/triggers.ts";

const stocks = [-2, 0, 1, 3, 4, 5, 6, 8, 10, 60, "NaN", "Infinity"] as const;
const products = 2;
const product = fc.integer({ min: 0, max: products - 1 });

type Command =
  | { do: "stock"; product: number; stock: (typeof stocks)[number] }
  | { do: "sell twice"; product: number }
  | { do: "switch"; product: number; active: boolean }
  | { do: "dismiss" | "delete"; product: number }
  | { do: "threshold"; low: number | null }
  | { do: "own threshold"; product: number; low: number | null }
  | {
      do: "lost events" | "drop triggers" | "attach" | "check" | "reconcile" | "reconcile at once";
    };

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("stock" as const),
      product,
      stock: fc.constantFrom(...stocks),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("sell twice" as const), product }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("switch" as const), product, active: fc.boolean() }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom("dismiss" as const, "delete" as const), product }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("threshold" as const),
      low: fc.constantFrom(null, 4, 20, 50),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("own threshold" as const),
      product,
      low: fc.constantFrom(null, 0, 8, 100),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom("drop triggers" as const, "attach" as const, "check" as const),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom("reconcile" as const, "reconcile at once" as const),
    }),
  },
);

/** What the owner should see of one alert: kept by the test as the engine keeps open_insight. */
type Open = { shown: boolean; rank: number };

/** The store as the test knows it, computed without any SQL of ours. */
class Model {
  readonly stock: (number | string)[] = Array(products).fill(50);
  readonly active: boolean[] = Array(products).fill(true);
  readonly own: (number | null)[] = Array(products).fill(null);
  low: number | null = null;
  readonly open = new Map<string, Open>();

  /** tipo and rank of urgency (CRITICA 1 to MEDIA 3) of a product's alert, if it has one. */
  finding(i: number): { key: string; rank: number } | undefined {
    const stock = Number(this.stock[i]);
    if (!this.active[i] || !Number.isFinite(stock)) return undefined;
    if (stock <= 0) return { key: `PRODUCTO_SIN_STOCK ${i}`, rank: 2 };
    const low = this.own[i] ?? this.low ?? 10;
    if (stock > low) return undefined;
    return { key: `STOCK_BAJO ${i}`, rank: stock <= 3 ? 1 : stock <= low / 2 ? 2 : 3 };
  }

  reconcile(): void {
    const found = new Map<string, number>();
    for (let i = 0; i < products; i += 1) {
      const finding = this.finding(i);
      if (finding) found.set(finding.key, finding.rank);
    }
    for (const key of [...this.open.keys()]) if (!found.has(key)) this.open.delete(key);
    for (const [key, rank] of found) {
      const open = this.open.get(key);
      if (!open || open.shown || rank < open.rank) this.open.set(key, { shown: true, rank });
    }
  }

  hide(i: number): void {
    for (const tipo of ["STOCK_BAJO", "PRODUCTO_SIN_STOCK"]) {
      const open = this.open.get(`${tipo} ${i}`);
      if (open) open.shown = false;
    }
  }

  shown(): string[] {
    return [...this.open]
      .flatMap(([key, open]) => (open.shown ? [`${key} ${open.rank}`] : []))
      .sort();
  }
}

describe("any sequence of sales, dismissals, deletions and changes of thresholds", () => {
  let db: TestDatabase;
  let worker: Pool;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker", 8);
  });
  after(() => db.drop());

  async function run(commands: Command[]): Promise<void> {
    const store = await addStore(db.pool);
    const ids: string[] = [];
    for (let i = 0; i < products; i += 1) ids.push(await addProduct(db.pool, store, { stock: 50 }));
    const model = new Model();
    let asOf = Date.parse("2026-11-24T12:00:00Z");

    const apply = async (command: Command): Promise<void> => {
      switch (command.do) {
        case "stock":
          model.stock[command.product] = command.stock;
          await setStock(db.pool, ids[command.product] as string, command.stock);
          break;
        case "sell twice": {
          // Two sales of one unit at the same time, each in a transaction of its own.
          const before = Number(model.stock[command.product]);
          if (!Number.isFinite(before)) break;
          model.stock[command.product] = before - 2;
          const sale = () =>
            db.pool.query(
              "update public.productos set stock_actual = stock_actual - 1 where id = $1",
              [ids[command.product]],
            );
          await Promise.all([sale(), sale()]);
          break;
        }
        case "switch":
          model.active[command.product] = command.active;
          await db.pool.query("update public.productos set is_active = $2 where id = $1", [
            ids[command.product],
            command.active,
          ]);
          break;
        case "dismiss":
        case "delete":
          model.hide(command.product);
          await db.pool.query(
            command.do === "dismiss"
              ? "update public.insights set is_active = false where extra_data ->> 'producto_id' = $1 and is_active"
              : "delete from public.insights where extra_data ->> 'producto_id' = $1",
            [ids[command.product]],
          );
          break;
        case "threshold":
          model.low = command.low;
          await setSettings(db.pool, store, { low_stock_threshold: command.low });
          break;
        case "own threshold":
          model.own[command.product] = command.low;
          await db.pool.query("delete from nexus_engine.product_settings where producto_id = $1", [
            ids[command.product],
          ]);
          if (command.low !== null) {
            await db.pool.query(
              "insert into nexus_engine.product_settings (tienda_id, producto_id, min_stock) values ($1, $2, $3)",
              [store, ids[command.product], command.low],
            );
          }
          break;
        case "drop triggers":
          await db.pool.query(dropTriggers);
          break;
        case "attach":
          await db.pool.query("select nexus_engine.attach()");
          break;
        case "check":
          await db.pool.query("select nexus_engine.check_stock_batch(null, 1000, now())");
          break;
        default: {
          asOf += 60_000;
          model.reconcile();
          const passes = command.do === "reconcile" ? 1 : 3;
          await Promise.all(
            Array.from({ length: passes }, () =>
              reconcile(worker, [store], new Date(asOf), ["STOCK_BAJO", "PRODUCTO_SIN_STOCK"]),
            ),
          );
          assert.deepEqual(await shown(store, ids), model.shown());
        }
      }
    };
    for (const step of commands) await apply(step);
    await apply({ do: "reconcile" });
    await consistent(store);
  }

  /** The active insights, as the model writes them; each is what the function says now. */
  async function shown(store: string, ids: string[]): Promise<string[]> {
    const { rows } = await db.pool.query(
      `select i.tipo, i.extra_data ->> 'producto_id' as product, nexus_engine.urgencia_rank(i.nivel_urgencia) as rank,
         (i.mensaje, i.extra_data, i.nivel_urgencia::text) = (f.mensaje, f.extra_data, f.nivel_urgencia) as up_to_date
       from public.insights i
       left join (
         select 'STOCK_BAJO' as tipo, f.* from nexus_engine.insight_stock_bajo(array[$1::uuid], now()) f
         union all select 'PRODUCTO_SIN_STOCK', f.* from nexus_engine.insight_producto_sin_stock(array[$1::uuid], now()) f
       ) f on f.tipo = i.tipo and f.subject = i.extra_data ->> 'producto_id'
       where i.tienda_id = $1 and i.is_active`,
      [store],
    );
    for (const row of rows) assert.equal(row.up_to_date, true, JSON.stringify(row));
    return rows.map(({ tipo, product: id, rank }) => `${tipo} ${ids.indexOf(id)} ${rank}`).sort();
  }

  /** stock_watch, stock_out and open_insight against productos, by a plain recomputation. */
  async function consistent(store: string): Promise<void> {
    const { rows } = await db.pool.query(
      `with level as (
         select p.id, p.stock_actual <= 0 as is_out from public.productos p
         join nexus_engine.store s on s.tienda_id = p.tienda_id
         left join nexus_engine.product_settings ps on ps.producto_id = p.id
         where p.tienda_id = $1 and p.is_active and p.stock_actual > '-Infinity'
           and p.stock_actual <= greatest(coalesce(ps.min_stock, s.low_stock_threshold)::float8, 0)
       )
       select
         (select array_agg((id, is_out)::text order by id) from level) is not distinct from
           (select array_agg((producto_id, is_out)::text order by producto_id) from nexus_engine.stock_watch where tienda_id = $1) as watch,
         (select array_agg(id order by id) from level where is_out) is not distinct from
           (select array_agg(producto_id order by producto_id) from nexus_engine.stock_out where tienda_id = $1 and back_at is null) as outs,
         not exists (select from nexus_engine.stock_out o where o.tienda_id = $1 and o.back_at < o.out_since) as ordered,
         (select array_agg(id::text order by id) from level) is not distinct from
           (select array_agg(subject order by subject::uuid) from nexus_engine.open_insight where tienda_id = $1) as open`,
      [store],
    );
    assert.deepEqual(rows, [{ watch: true, outs: true, ordered: true, open: true }]);
  }

  it("ends in what a recomputation gives, and shows at every pass what the owner should see", async (t) => {
    const commands = fc.array(command, { minLength: 10, maxLength: 40 });
    await holdsAlways(t, fc.asyncProperty(commands, run), 3, { shrink: true });
  });
});
