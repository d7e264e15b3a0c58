import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import type { Pool } from "pg";
import { assertSettled } from "../engine/interleaving/settled.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { drainOutbox } from "../support/drain.ts";
import { addProduct, addSale, addStore, addUser, reconcile } from "../support/fixtures.ts";
import { holdsAlways } from "../support/property.ts";
import { rollUp } from "../support/rollups.ts";
import { hold } from "./conversation.ts";
import {
  aboutInsights,
  conversations,
  type OtherStep,
  type Shop,
  type Step,
  step,
} from "./steps.ts";

/**
 * The POS with the engine at work on its database, and the POS alone: the same statements, the same answers. What
 * stands in insights is aside, but the POS's own endpoints for them have to go on working.
 */
describe("the POS beside the engine", () => {
  let withUs: TestDatabase;
  let alone: TestDatabase;
  let worker: Pool;
  before(async () => {
    [withUs, alone] = await Promise.all([createTestDatabase(), createTestDatabase()]);
    worker = withUs.poolAs("nexus_worker");
    // Not a trace of us in its catalogue.
    await alone.pool.query(`
      drop schema nexus_api, nexus_engine, graphile_worker cascade;
      drop index if exists public.nexus_ventas_tienda_fecha;`);
    const { rows } = await alone.pool.query(
      "select tgname from pg_trigger where tgname like 'nexus%' union all select relname from pg_class where relname like 'nexus%'",
    );
    assert.deepEqual(rows, []);
  });
  after(async () => {
    await withUs.drop();
    await alone.drop();
  });

  const steps = fc.array(step, { minLength: 15, maxLength: 40, size: "max" });

  it("is answered as if it were alone, and the engine ends in what a recomputation gives", async (t) => {
    const property = fc.asyncProperty(steps, liveThrough);
    if (process.env.PROPERTY_SECONDS) await holdsAlways(t, property, 0);
    // A run has about a thousand statements, on two databases: counted, so that a busy machine does as many.
    else await fc.assert(property, { numRuns: 3, endOnFailure: true });
  });

  async function liveThrough(all: Step[]): Promise<void> {
    const shops = await openShops();
    const stores = shops.map(({ store }) => store);
    const journal: string[] = [];
    try {
      for (const given of all) {
        journal.push(JSON.stringify(given));
        if ("store" in given && given.do !== "dismiss with us") {
          const shop = shops[given.store] as Shop;
          const conversation = conversations(given, shop);
          const sides = [withUs, alone].map(({ pool }) => hold(pool, conversation()));
          const [ours, theirs] = await Promise.all(sides);
          if (aboutInsights(given)) {
            assert.equal(ours?.status, theirs?.status, ours?.lines.at(-1));
          } else assert.deepEqual(ours, theirs);
          await note(shop);
        } else await happens(given as OtherStep, shops);
      }
      await settle(stores);
      await assertSameTables();
      await assertOneEach();
      await assertSettled(withUs.pool, worker, stores, { posWrites: true });
    } catch (error) {
      throw new Error(`${error}\n  after\n  ${journal.join("\n  ")}`, { cause: error });
    } finally {
      await closeShops();
    }
  }

  /** Two stores with a past of some days, the same in both databases. */
  async function openShops(): Promise<Shop[]> {
    const shops: Shop[] = [];
    for (const _ of [1, 2]) {
      const store = await addStore(withUs.pool);
      const user = await addUser(withUs.pool, store);
      const products: string[] = [];
      for (const stock of [0, 2, 7, 12, 50, 50]) {
        products.push(await addProduct(withUs.pool, store, { stock }));
      }
      for (const days of [1, 2, 5, 9]) {
        const fecha = new Date(Date.now() - days * 86_400_000);
        const [productoId = ""] = products;
        await addSale(withUs.pool, store, {
          fecha,
          statusPago: days % 2 ? "pagado" : "pendiente",
          lines: [{ productoId, cantidad: 2, precio: 50 }],
        });
      }
      shops.push({ store, user, products, tickets: [] });
    }
    for (const table of tables) {
      const { rows } = await withUs.pool.query(`select to_jsonb(t) as row from public.${table} t`);
      await alone.pool.query(
        `insert into public.${table} select (jsonb_populate_record(null::public.${table}, r)).* from jsonb_array_elements($1) r`,
        [JSON.stringify(rows.map(({ row }) => row))],
      );
    }
    for (const shop of shops) await note(shop);
    return shops;
  }

  /** The products and tickets that both have. */
  async function note(shop: Shop): Promise<void> {
    const ids = async (table: string) =>
      (
        await alone.pool.query<{ id: string }>(
          `select id from public.${table} where tienda_id = $1 order by created_at, id`,
          [shop.store],
        )
      ).rows.map(({ id }) => id);
    shop.products = await ids("productos");
    shop.tickets = await ids("ventas");
  }

  async function happens(given: OtherStep, shops: Shop[]): Promise<void> {
    const stores = shops.map(({ store }) => store);
    if (given.do === "a day passes") {
      // The POS looks no further back than this for an alert that stands.
      for (const { pool } of [withUs, alone]) {
        await pool.query(
          "update public.insights set created_at = created_at - interval '25 hours'",
        );
      }
    } else if (given.do === "dismiss with us") {
      await worker.query(
        `update public.insights set is_active = false where id = (
           select id from public.insights where tienda_id = $1 and is_active order by id
           offset $2::int % greatest(1, (select count(*) from public.insights where tienda_id = $1 and is_active)) limit 1)`,
        [stores[given.store], given.insight],
      );
    } else if (given.work === "drain") await drainOutbox(worker);
    else if (given.work === "pass") await reconcile(worker, stores, new Date());
    else await rollUp(worker);
  }

  /** What the schedules do once all is quiet, and a forced refresh of the POS is over for sure. */
  async function settle(stores: string[]): Promise<void> {
    await worker.query("update nexus_engine.insight_mark set at = at - interval '1 minute'");
    await drainOutbox(worker);
    await reconcile(worker, stores, new Date());
    await rollUp(worker);
    await rollUp(worker);
    await reconcile(worker, stores, new Date());
  }

  async function assertSameTables(): Promise<void> {
    for (const table of tables) {
      const read = async ({ pool }: TestDatabase) =>
        (
          await pool.query(
            `select to_jsonb(t) - 'updated_at' as row from public.${table} t order by id`,
          )
        ).rows;
      assert.deepEqual(await read(withUs), await read(alone), table);
    }
  }

  async function assertOneEach(): Promise<void> {
    const { rows } = await withUs.pool.query(
      `select tienda_id, tipo, extra_data ->> 'producto_id' as producto, count(*) from public.insights
       where is_active group by 1, 2, 3 having count(*) > 1`,
    );
    assert.deepEqual(rows, [], "two active rows of one type and product");
  }

  async function closeShops(): Promise<void> {
    for (const { pool } of [withUs, alone]) await pool.query("truncate public.tiendas cascade");
    await withUs.pool.query(`
      truncate nexus_engine.open_insight, nexus_engine.stock_event, nexus_engine.stock_watch, nexus_engine.stock_out,
        nexus_engine.stock_recheck, nexus_engine.stock_told, nexus_engine.rollup_state, nexus_engine.sale_mark,
        nexus_engine.sales_changed, nexus_engine.store_day, nexus_engine.store_hour, nexus_engine.method_day,
        nexus_engine.product_day, nexus_engine.insight_mark, nexus_engine.repeated_insight;
      delete from graphile_worker._private_jobs;`);
  }
});

const tables = ["tiendas", "users", "productos", "ventas", "detalles_venta"];
