import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import type { Pool } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { drainOutbox } from "../support/drain.ts";
import { addProduct, addSale, addStore, reconcile, setStock } from "../support/fixtures.ts";
import { PosInsights } from "../support/pos_insights.ts";
import { holdsAlways } from "../support/property.ts";

const stocks = [0, 0, -1, 2, 4, 8, 8, 60] as const;
const products = 3;
const product = fc.nat(products - 1);

const command = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("stock" as const),
      product,
      stock: fc.constantFrom(...stocks),
    }),
  },
  // Which of its commits a drain or a pass comes after, as bits.
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom("refresh" as const, "force" as const),
      drains: fc.nat(15),
      passes: fc.nat(15),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom("dismiss" as const, "dismiss here" as const),
      nth: fc.nat(5),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "clear all" as const,
        "clear archived" as const,
        "clear here" as const,
        "force here" as const,
      ),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("sell" as const, "pass" as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("hours" as const), hours: fc.nat(30) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("settle" as const) }) },
);
type Command = typeof command extends fc.Arbitrary<infer C> ? C : never;

type Open = { shown: boolean; rank: number; cleared: boolean };

/** What the owner should see, kept without any SQL of ours. A key is a type and a product. */
class Model {
  readonly stock: number[] = Array(products).fill(50);
  readonly open = new Map<string, Open>();
  /** Of these the POS has written one since the last look. */
  readonly written = new Set<string>();
  refreshed = false;
  /** The only alert that the store had, archived a moment ago. */
  single: string | undefined;

  finding(n: number): { key: string; rank: number } | undefined {
    const stock = this.stock[n] as number;
    if (stock <= 0) return { key: `PRODUCTO_SIN_STOCK ${n}`, rank: 2 };
    if (stock > 10) return undefined;
    return { key: `STOCK_BAJO ${n}`, rank: stock <= 3 ? 1 : stock <= 5 ? 2 : 3 };
  }

  look(): void {
    for (const key of this.written) {
      const open = this.open.get(key);
      if (open && (open.cleared || this.refreshed || this.single === key)) open.shown = true;
    }
    this.written.clear();
    if (this.refreshed) {
      for (const [key, open] of this.open) if (!open.shown) this.open.delete(key);
    }
    this.refreshed = false;
    this.single = undefined;
    const found = new Set<string>();
    this.stock.forEach((_, n) => {
      const finding = this.finding(n);
      if (!finding) return;
      found.add(finding.key);
      const open = this.open.get(finding.key);
      if (!open || open.shown || finding.rank < open.rank) {
        this.open.set(finding.key, { shown: true, rank: finding.rank, cleared: false });
      }
    });
    for (const key of this.open.keys()) if (!found.has(key)) this.open.delete(key);
  }

  takeAway(): Open[] {
    const shown = [...this.open.values()].filter((open) => open.shown);
    for (const open of shown) open.shown = false;
    return shown;
  }
}

describe("whatever the POS writes to insights beside the engine", () => {
  let db: TestDatabase;
  let worker: Pool;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
  });
  after(() => db.drop());

  const asOwner = async (statement: string, value: string) => {
    const client = await db.pool.connect();
    try {
      await client.query("begin; set local role nexus_owner");
      await client.query(statement, [value]);
      await client.query("commit");
    } finally {
      client.release();
    }
  };

  async function run(commands: Command[]): Promise<void> {
    const store = await addStore(db.pool);
    const ids: string[] = [];
    for (let n = 0; n < products; n += 1) ids.push(await addProduct(db.pool, store, { stock: 50 }));
    const pos = new PosInsights(db.pool, store);
    const model = new Model();
    let at = new Date("2026-11-10T12:00:00Z");

    const shown = async () => {
      const { rows } = await db.pool.query<{ id: string; key: string; is_stock: boolean }>(
        `select i.id, concat(i.tipo, ' ' || (array_position($2::text[], i.extra_data ->> 'producto_id') - 1)) as key,
           i.extra_data ? 'producto_id' as is_stock
         from public.insights i where i.tienda_id = $1 and i.is_active order by i.tipo, i.id`,
        [store, ids],
      );
      return rows;
    };
    const drain = async () => {
      await drainOutbox(worker, 250, at);
      const keys = (await shown()).map(({ key }) => key);
      assert.deepEqual(keys, [...new Set(keys)], "two active insights say the same");
    };
    const pass = () => reconcile(worker, [store], at);
    const settle = async () => {
      await drain();
      await db.pool.query("update nexus_engine.insight_mark set at = at - interval '1 minute'");
      await drain();
      model.look();
      const { rows } = await db.pool.query(
        `select concat_ws(' ', i.tipo, array_position($2::text[], i.extra_data ->> 'producto_id') - 1,
           nexus_engine.urgencia_rank(i.nivel_urgencia), case when not i.extra_data ? 'unidad' then 'not our words' end) as key
         from public.insights i where i.tienda_id = $1 and i.is_active and i.tipo <> 'VENTAS_DIARIAS'`,
        [store, ids],
      );
      assert.deepEqual(
        rows.map(({ key }) => key).sort(),
        [...model.open]
          .filter(([, open]) => open.shown)
          .map(([key, open]) => `${key} ${open.rank}`)
          .sort(),
      );
      const { rows: left } = await db.pool.query(
        `select (select count(*)::int from nexus_engine.insight_mark) as marks,
           (select count(*)::int from public.insights i where i.tienda_id = $1 and i.is_active and not exists (
              select from nexus_engine.open_insight o where o.insight_id = i.id)) as unknown,
           (select count(*)::int from public.insights i where i.tienda_id = $1 and i.tipo = 'VENTAS_DIARIAS'
              and i.is_active and not i.extra_data ? 'fecha' and exists (
                select from nexus_engine.open_insight o
                where o.insight_id = i.id and o.look_again_at = '-infinity')) as "not compared",
           (select coalesce(max(n), 0)::int from (
              select count(*) as n from nexus_engine.repeated_insight r
              join public.insights i on i.id = r.insight_id
              where r.tienda_id = $1 group by r.tipo, r.subject) r) <= 3 as bounded`,
        [store],
      );
      assert.deepEqual(left, [{ marks: 0, unknown: 0, "not compared": 0, bounded: true }]);
    };

    for (const step of [...commands, { do: "settle" } as const]) {
      switch (step.do) {
        case "stock":
          model.stock[step.product] = step.stock;
          await setStock(db.pool, ids[step.product] as string, step.stock);
          break;
        case "sell":
          await addSale(db.pool, store, { fecha: at, total: 100 });
          break;
        case "hours":
          // What is low is told before hours pass.
          await settle();
          at = new Date(at.getTime() + step.hours * 3_600_000);
          break;
        case "pass":
          await pass();
          await settle();
          break;
        case "settle":
          await settle();
          break;
        case "refresh":
        case "force": {
          if (step.do === "force") {
            await settle();
            const active = await shown();
            const [only] = active;
            model.takeAway();
            if (active.length > 1) model.refreshed = true;
            else if (only?.is_stock) model.single = only.key;
          }
          model.stock.forEach((stock, n) => {
            if (stock <= 10) model.written.add(`STOCK_BAJO ${n}`);
            if (stock === 0) model.written.add(`PRODUCTO_SIN_STOCK ${n}`);
          });
          let commit = 0;
          const between = async () => {
            const bit = 1 << commit;
            commit += 1;
            if (step.passes & bit) await pass();
            if (step.drains & bit) await drain();
          };
          await pos.refresh({ force: step.do === "force", at, between });
          break;
        }
        case "dismiss":
        case "dismiss here": {
          await settle();
          const rows = await shown();
          const row = rows[step.nth % rows.length];
          if (!row) break;
          if (step.do === "dismiss") await pos.dismiss(row.id);
          else await asOwner("update public.insights set is_active = false where id = $1", row.id);
          const open = model.open.get(row.key);
          if (open) open.shown = false;
          await settle();
          break;
        }
        case "clear all":
          await settle();
          for (const open of model.takeAway()) open.cleared = true;
          await pos.clearAll();
          break;
        case "clear archived":
          await pos.clearAll(true);
          break;
        case "clear here":
          await settle();
          model.takeAway();
          await asOwner("delete from public.insights where tienda_id = $1", store);
          break;
        case "force here":
          await settle();
          for (const [key, open] of model.open) if (!open.shown) model.open.delete(key);
          await worker.query(
            "select nexus_engine.refresh_available(null, array[$1]::uuid[], true, $2)",
            [store, at],
          );
          break;
      }
    }
  }

  it("one active insight a type and product stands, of what is so and was not dismissed", async (t) => {
    const commands = fc.array(command, { minLength: 6, maxLength: 25 });
    await holdsAlways(t, fc.asyncProperty(commands, run), 4);
  });
});
