import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore, reconcile, setStock } from "../support/fixtures.ts";
import { holdsAlways } from "../support/property.ts";

const stocks = [-2, 0, 1, 3, 4, 6, 10, 60] as const;
const products = 3;
const product = fc.nat(products - 1);

const command = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("stock" as const),
      product,
      stock: fc.constantFrom(...stocks),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("dismiss", "delete"), product }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("switch" as const), product }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("drain" as const),
      share: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("reconcile" as const) }) },
);
type Command = typeof command extends fc.Arbitrary<infer C> ? C : never;

/** tipo and rank of urgency of a product's alert, as the catalogue of types says them. */
function finding(stock: number, isActive: boolean): { tipo: string; rank: number } | undefined {
  if (!isActive || stock > 10) return undefined;
  if (stock <= 0) return { tipo: "PRODUCTO_SIN_STOCK", rank: 2 };
  return { tipo: "STOCK_BAJO", rank: stock <= 3 ? 1 : stock <= 5 ? 2 : 3 };
}

describe("whatever happens between drains", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  /** The owner sees after each drain what a look at the products that crossed shows him. */
  async function run(commands: Command[]): Promise<void> {
    const store = await addStore(db.pool);
    const ids: string[] = [];
    for (let n = 0; n < products; n += 1) ids.push(await addProduct(db.pool, store, { stock: 50 }));
    const state = ids.map(() => ({
      stock: 50,
      isActive: true,
      events: 0,
      open: undefined as { tipo: string; rank: number; shown: boolean } | undefined,
    }));
    type One = (typeof state)[number];
    const change = (one: One, next: Partial<One>) => {
      const [was, now] = [one, { ...one, ...next }].map((s) => finding(s.stock, s.isActive));
      Object.assign(one, next);
      if (was?.tipo !== now?.tipo || was?.rank !== now?.rank) one.events += 1;
    };
    const look = (one: One) => {
      const found = finding(one.stock, one.isActive);
      one.events = 0;
      if (!found) one.open = undefined;
      else if (one.open?.tipo !== found.tipo || one.open.shown || found.rank < one.open.rank) {
        one.open = { ...found, shown: true };
      }
    };
    const assertShown = async () => {
      const { rows } = await db.pool.query(
        `select extra_data ->> 'producto_id' as id, tipo, nexus_engine.urgencia_rank(nivel_urgencia) as rank
         from public.insights where tienda_id = $1 and is_active`,
        [store],
      );
      assert.deepEqual(
        rows.map((row) => `${ids.indexOf(row.id)} ${row.tipo} ${row.rank}`).sort(),
        state.flatMap(({ open }, n) => (open?.shown ? [`${n} ${open.tipo} ${open.rank}`] : [])),
      );
    };
    const of = (n: number) => [state[n] as One, ids[n] as string] as const;

    for (const step of [...commands, { do: "drain", share: 9 } as const]) {
      if (step.do === "stock") {
        const [one, id] = of(step.product);
        change(one, { stock: step.stock });
        await setStock(db.pool, id, step.stock);
      } else if (step.do === "switch") {
        const [one, id] = of(step.product);
        change(one, { isActive: !one.isActive });
        await db.pool.query("update public.productos set is_active = $2 where id = $1", [
          id,
          one.isActive,
        ]);
      } else if (step.do === "dismiss" || step.do === "delete") {
        const [one, id] = of(step.product);
        if (one.open) one.open.shown = false;
        await db.pool.query(
          step.do === "dismiss"
            ? "update public.insights set is_active = false where extra_data ->> 'producto_id' = $1 and is_active"
            : "delete from public.insights where extra_data ->> 'producto_id' = $1",
          [id],
        );
      } else if (step.do === "reconcile") {
        state.forEach(look);
        await reconcile(db.pool, [store], new Date(), ["STOCK_BAJO", "PRODUCTO_SIN_STOCK"]);
        await assertShown();
      } else if (step.do === "drain") {
        // In shares a product may be looked at more than once, always as it is now: the same.
        for (const one of state) if (one.events > 0) look(one);
        for (let left = true; left; ) {
          const { rows } = await db.pool.query(
            `select f.events + b.events > 0 as left
             from nexus_engine.drain_outbox($1, 9, false, now()) f, nexus_engine.drain_outbox($1, 9, true, now()) b`,
            [step.share],
          );
          left = rows[0].left;
        }
        await assertShown();
      }
    }
    const { rowCount } = await db.pool.query("select from nexus_engine.stock_event");
    assert.equal(rowCount, 0);
    // What a pass over the whole store adds is at most other words.
    const passes = await reconcile(db.pool, [store], new Date(), [
      "STOCK_BAJO",
      "PRODUCTO_SIN_STOCK",
    ]);
    for (const { inserted, archived } of passes) assert.deepEqual([inserted, archived], [0, 0]);
  }

  it("the owner sees what the products that crossed are now", async (t) => {
    const commands = fc.array(command, { minLength: 8, maxLength: 25 });
    await holdsAlways(t, fc.asyncProperty(commands, run), 3, { shrink: true });
  });
});
