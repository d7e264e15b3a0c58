import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import type { Pool } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { drainOutbox } from "../support/drain.ts";
import { addProduct, addSale, addStore, reconcile, setSettings } from "../support/fixtures.ts";
import { holdsAlways } from "../support/property.ts";
import { rollUp } from "../support/rollups.ts";
import { dropTriggers } from "../support/triggers.ts";
import { assertReadsExact, assertSettled } from "./interleaving/settled.ts";
import {
  type OwnerStep,
  type Round,
  round,
  type Shops,
  statements,
  type Transaction,
  type WorkerStep,
} from "./interleaving/steps.ts";

describe("sales, owners, operators and workers at the same time, on connections of their own", () => {
  let db: TestDatabase;
  let worker: Pool;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker", 8);
  });
  after(() => db.drop());

  /** What happened, in the order in which it ended; for whoever must understand a failure. */
  let journal: string[] = [];
  const note = (who: string, what: object, how = "") => {
    journal.push(`${(performance.now() % 1e6).toFixed(1)} ${who} ${JSON.stringify(what)} ${how}`);
  };

  it("end in what a computation from scratch gives", async (t) => {
    await holdsAlways(
      t,
      fc.asyncProperty(
        fc.array(round, { minLength: 1, maxLength: 3, size: "max" }),
        async (rounds) => {
          journal = [];
          const shops = await openShops();
          note("shops", shops);
          try {
            for (const each of rounds) {
              await play(each, shops);
              await settle(shops);
              await assertSettled(db.pool, worker, shops.stores);
            }
          } catch (error) {
            throw new Error(`${error}\n  after\n  ${journal.join("\n  ")}`, { cause: error });
          } finally {
            await closeShops();
          }
        },
      ),
      4,
    );
  });

  async function openShops(): Promise<Shops> {
    const stores = [
      await addStore(db.pool),
      await addStore(db.pool, { settings: { time_zone: "Asia/Kolkata", day_starts_at: "13:30" } }),
    ];
    const products: string[] = [];
    for (const store of [...stores, ...stores]) products.push(await addProduct(db.pool, store));
    const hour = 3_600_000;
    for (const store of stores) {
      for (const hours of [5, 20, 29, 44, 53]) {
        await addSale(db.pool, store, { fecha: new Date(Date.now() - hours * hour), total: 10 });
      }
    }
    await rollUp(worker);
    // Some days have been told.
    for (const days of [2, 1, 0]) {
      const asOf = new Date(Date.now() - days * 24 * hour);
      await reconcile(worker, stores, asOf, ["VENTAS_DIARIAS", "VENTAS_SEMANALES"]);
    }
    return { stores, products };
  }

  async function closeShops(): Promise<void> {
    await db.pool.query(`
      truncate nexus_engine.open_insight, nexus_engine.stock_event, nexus_engine.stock_watch, nexus_engine.stock_out,
        nexus_engine.stock_recheck, nexus_engine.stock_told, nexus_engine.product_settings, nexus_engine.store_settings, nexus_engine.rollup_state, nexus_engine.sale_mark, nexus_engine.sales_changed,
        nexus_engine.store_day, nexus_engine.store_hour, nexus_engine.method_day, nexus_engine.product_day;
      truncate public.tiendas cascade;
      delete from graphile_worker._private_jobs;
      select nexus_engine.attach();
      truncate nexus_engine.sale_mark;`);
    await checkStock();
  }

  async function checkStock(): Promise<void> {
    await db.pool.query("select nexus_engine.check_stock_batch(null, 100, now())");
    await db.pool.query("select nexus_engine.follow_triggers()");
  }

  async function play({ pos, workers, owner }: Round, shops: Shops): Promise<void> {
    await Promise.all([
      ...pos.map((transactions, n) => sellers(`pos ${n}`, transactions, shops)),
      ...workers.map((steps, n) => work(`worker ${n}`, steps, shops)),
      own(owner, shops),
    ]);
  }

  /** A till: one transaction after the other, each of which may stay open for a while. */
  async function sellers(who: string, transactions: Transaction[], shops: Shops): Promise<void> {
    const client = await db.pool.connect();
    try {
      // Given up before it is a deadlock, which the test must not take for one of ours.
      await client.query("set lock_timeout = '50ms'");
      for (const { steps, pauses, end } of transactions) {
        await client.query("begin");
        for (const [n, step] of steps.entries()) {
          await client.query("savepoint step");
          try {
            for (const [sql, ...values] of statements(step, shops)) await client.query(sql, values);
            note(who, step);
          } catch (error) {
            note(who, step, busy(error));
            await client.query("rollback to step");
          }
          await sleep(pauses[n]);
        }
        await client.query(end);
        note(who, {}, end);
      }
      await client.query("reset lock_timeout");
    } finally {
      client.release(true);
    }
  }

  async function work(who: string, steps: WorkerStep[], shops: Shops): Promise<void> {
    for (const step of steps) {
      await sleep(step.pause);
      try {
        await runWorkerStep(step, shops);
        note(who, step);
      } catch (error) {
        note(who, step, String(error));
        throw error;
      }
    }
  }

  async function runWorkerStep(step: WorkerStep, { stores }: Shops): Promise<void> {
    const store = stores[step.store % stores.length] ?? "";
    switch (step.do) {
      case "reconcile":
        await worker.query("select nexus_engine.reconcile(null, $1, now())", [stores]);
        break;
      case "reconcile stock":
        await worker.query(
          "select nexus_engine.reconcile(array['PRODUCTO_SIN_STOCK', 'STOCK_BAJO'], $1, now())",
          [[store]],
        );
        break;
      case "force": {
        const client = await worker.connect();
        await client.query("begin");
        await client.query("select nexus_engine.forget_dismissals($1, now())", [[store]]);
        await client.query("select nexus_engine.reconcile(null, $1, now())", [[store]]);
        await sleep(step.pause);
        await client.query("commit");
        client.release();
        break;
      }
      case "drain":
        await drainOutbox(worker, 2);
        break;
      case "roll up":
        await rollUp(worker);
        break;
      case "check stock":
        await worker.query("select nexus_engine.check_stock_batch(null, 100, now())");
        break;
      case "check rollups":
        await worker.query("select nexus_engine.check_rollups_batch(null, 100, 1, now())");
        break;
      case "purge":
        await worker.query("select nexus_engine.purge(now(), interval '180 days', 5000)");
        break;
      case "read":
        await assertReadsExact(db.pool, store);
    }
  }

  async function own(steps: OwnerStep[], shops: Shops): Promise<void> {
    for (const step of steps) {
      await sleep(step.pause);
      const store = shops.stores[("store" in step ? step.store : 0) % 2] ?? "";
      try {
        await runOwnerStep(step, store, shops);
        note("owner", step);
      } catch (error) {
        note("owner", step, busy(error));
      }
    }
  }

  async function runOwnerStep(step: OwnerStep, store: string, shops: Shops): Promise<void> {
    switch (step.do) {
      case "settings":
        await setSettings(db.pool, store, step.settings);
        break;
      case "own threshold": {
        const product = shops.products[step.product % shops.products.length];
        await db.pool.query(
          step.low === null
            ? "delete from nexus_engine.product_settings where producto_id = $1 and $2::numeric is null"
            : `insert into nexus_engine.product_settings (tienda_id, producto_id, min_stock)
               select p.tienda_id, p.id, $2 from public.productos p where p.id = $1
               on conflict (producto_id) do update set min_stock = excluded.min_stock`,
          [product, step.low],
        );
        break;
      }
      case "close store":
      case "open store":
        await db.pool.query("update public.tiendas set is_active = $2 where id = $1", [
          store,
          step.do === "open store",
        ]);
        break;
      case "refit triggers":
        // As the task check_stock does.
        await checkStock();
        break;
      case "drop triggers":
        await db.pool.query(dropTriggers);
        break;
      default:
        await db.pool.query("select nexus_engine.attach()");
    }
  }

  /** What the schedules do once all is quiet: no nightly check, which would hide what was missed. */
  async function settle({ stores }: Shops): Promise<void> {
    await db.pool.query("update public.tiendas set is_active = true where not is_active");
    await db.pool.query("select nexus_engine.attach() where not nexus_engine.attached()");
    await drainOutbox(worker, 2);
    await worker.query("select nexus_engine.reconcile(null, $1, now())", [stores]);
    await rollUp(worker);
    await rollUp(worker);
    // The roll-up noted whose summaries are not true any more.
    await worker.query("select nexus_engine.reconcile(null, $1, now())", [stores]);
    const { rows } = await worker.query(
      "select * from nexus_engine.reconcile(null, $1, now()) r where (r.inserted, r.updated, r.archived, r.failed) <> (0, 0, 0, 0)",
      [stores],
    );
    if (rows.length > 0) throw new Error(`a second pass writes: ${JSON.stringify(rows)}`);
  }
});

/** Another transaction has the row, or a line keeps its ticket. Anything else fails the test. */
function busy(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  // NX001: a critical threshold above the low one. 40P01: an operator's call and a till.
  if (!["55P03", "23503", "40P01", "NX001"].includes(code)) throw error;
  return `refused ${code}`;
}
