import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";
import { startStockDrain } from "../../src/worker/stock-drain.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { drainOutbox } from "../support/drain.ts";
import { addProduct, addStore, reconcile, setSettings, setStock } from "../support/fixtures.ts";
import { runJobs } from "../support/jobs.ts";
import { dropTriggers } from "../support/triggers.ts";
import { until } from "../support/until.ts";

const migration = join(import.meta.dirname, "../../sql/migrations/0021_thresholds_and_units.sql");

describe("a stock crossing", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  const events = async (store: string) => {
    const { rows } = await db.pool.query<{ is_out: boolean }>(
      "select is_out from nexus_engine.stock_event where tienda_id = $1 order by id",
      [store],
    );
    return rows.map(({ is_out }) => is_out);
  };
  const drain = () => drainOutbox(db.poolAs("nexus_worker"));
  const active = async (store: string) => {
    const { rows } = await db.pool.query<{ tipo: string; stock: string }>(
      "select tipo, extra_data ->> 'stock_actual' as stock from public.insights where tienda_id = $1 and is_active order by 1, 2",
      [store],
    );
    return rows.map(({ tipo, stock }) => `${tipo} ${stock}`);
  };

  it("is noted when the product is low or was, and only then", async () => {
    const store = await addStore(db.pool);
    const product = await addProduct(db.pool, store, { stock: 50 });
    for (const [stock, noted] of [
      [30, []], // enough
      [10, [false]], // MEDIA
      [9, [false]],
      [3, [false]], // CRITICA
      [0, [true]], // out
      [-2, [true]],
      [11, [false]], // enough again
      [40, []],
      ["NaN", []],
    ] as const) {
      await setStock(db.pool, product, stock);
      assert.deepEqual(await events(store), noted, `stock ${stock}`);
      await db.pool.query("delete from nexus_engine.stock_event");
    }
    const { rowCount } = await db.pool.query("select from nexus_engine.stock_event");
    assert.equal(rowCount, 0);
  });

  it("goes by the thresholds of the product and its store, and tells nothing of one that is enough there", async () => {
    const store = await addStore(db.pool);
    const [usual, own] = [
      await addProduct(db.pool, store, { stock: 50 }),
      await addProduct(db.pool, store, { stock: 50 }),
    ];
    await setSettings(db.pool, store, { low_stock_threshold: 6, critical_threshold: 2 });
    await db.pool.query(
      "insert into nexus_engine.product_settings (producto_id, tienda_id, min_stock) values ($1, $2, 8)",
      [own, store],
    );
    await drain();
    for (const [product, stock, noted, told] of [
      // Up to the usual threshold, which is 10: looked at, but enough here.
      [usual, 9, [false], []],
      [usual, 6, [false], ["STOCK_BAJO 6"]],
      [usual, 4, [false], ["STOCK_BAJO 4"]],
      [usual, 7, [false], []],
      [usual, 11, [false], []],
      [own, 9, [false], []],
      [own, 8, [false], ["STOCK_BAJO 8"]],
      [own, 2, [false], ["STOCK_BAJO 2"]],
      [own, 40, [false], []],
    ] as const) {
      await setStock(db.pool, product, stock);
      assert.deepEqual(await events(store), noted, `stock ${stock}`);
      await drain();
      assert.deepEqual(await active(store), told, `stock ${stock}`);
    }
  });

  it("of a new, a deactivated and an activated product is noted as well", async () => {
    const store = await addStore(db.pool);
    await addProduct(db.pool, store, { stock: 50 });
    const low = await addProduct(db.pool, store, { stock: 2 });
    await addProduct(db.pool, store, { stock: 0, isActive: false });
    assert.deepEqual(await events(store), [false, false]);
    await drain();
    assert.deepEqual(await active(store), ["STOCK_BAJO 2"]);
    await db.pool.query("update public.productos set is_active = false where id = $1", [low]);
    await drain();
    assert.deepEqual(await active(store), []);
    await db.pool.query("update public.productos set is_active = true where tienda_id = $1", [
      store,
    ]);
    await drain();
    assert.deepEqual(await active(store), ["PRODUCTO_SIN_STOCK 0", "STOCK_BAJO 2"]);
  });

  it("leaves nothing behind when the sale is rolled back", async () => {
    const store = await addStore(db.pool);
    const product = await addProduct(db.pool, store, { stock: 50 });
    const client = await db.pool.connect();
    await client.query("begin");
    await client.query("update public.productos set stock_actual = 0 where id = $1", [product]);
    await client.query("rollback");
    client.release();
    assert.deepEqual(await events(store), []);
  });

  it("never fails the sale, whatever is wrong with us", async () => {
    const store = await addStore(db.pool);
    const product = await addProduct(db.pool, store, { stock: 50 });
    await db.pool.query("alter table nexus_engine.stock_event rename to hidden");
    await setStock(db.pool, product, 0);
    await db.pool.query("alter table nexus_engine.hidden rename to stock_event");
    const { rows } = await db.pool.query(
      "select stock_actual from public.productos where id = $1",
      [product],
    );
    assert.equal(rows[0].stock_actual, 0);
    // The nightly check finds what was not noted.
    assert.deepEqual(await active(store), []);
    await db.pool.query("select graphile_worker.add_job('check_stock')");
    await runJobs(db.poolAs("nexus_worker"));
    await reconcile(db.pool, [store], new Date());
    assert.deepEqual(await active(store), ["PRODUCTO_SIN_STOCK 0"]);
  });

  it("does not wait for another sale, nor for a drain", async () => {
    const store = await addStore(db.pool);
    const [one, two] = [await addProduct(db.pool, store), await addProduct(db.pool, store)];
    const [first, second] = [await db.pool.connect(), await db.pool.connect()];
    await first.query("begin");
    await first.query("update public.productos set stock_actual = 1 where id = $1", [one]);
    await second.query("begin");
    await second.query("set local lock_timeout = '2s'");
    await second.query("update public.productos set stock_actual = 1 where id = $1", [two]);
    await second.query("commit");
    await drain();
    assert.deepEqual(await active(store), ["STOCK_BAJO 1"]);
    await first.query("commit");
    await drain();
    assert.deepEqual(await active(store), ["STOCK_BAJO 1", "STOCK_BAJO 1"]);
    first.release();
    second.release();
  });

  it("follows the product's own threshold, and the store's when that changes", async () => {
    const store = await addStore(db.pool);
    const product = await addProduct(db.pool, store, { stock: 50 });
    await db.pool.query(
      "insert into nexus_engine.product_settings (tienda_id, producto_id, min_stock) values ($1, $2, 60)",
      [store, product],
    );
    await drain();
    assert.deepEqual(await active(store), ["STOCK_BAJO 50"]);
    await db.pool.query("delete from nexus_engine.product_settings");
    await drain();
    assert.deepEqual(await active(store), []);
    await setSettings(db.pool, store, { low_stock_threshold: 50 });
    await reconcile(db.pool, [store], new Date());
    assert.deepEqual(await active(store), ["STOCK_BAJO 50"]);
    await assert.rejects(
      db.pool.query(
        "insert into nexus_engine.product_settings (tienda_id, producto_id, min_stock) values (gen_random_uuid(), $1, 60)",
        [product],
      ),
      { code: "NX001", column: "producto_id" },
    );
  });

  it("has no threshold that no shop can mean, nor keeps one that was set before", async () => {
    const store = await addStore(db.pool);
    const product = await addProduct(db.pool, store);
    for (const value of [1_000_000.001, 999_999_999, "NaN"]) {
      for (const column of ["low_stock_threshold", "critical_threshold"]) {
        await assert.rejects(setSettings(db.pool, store, { [column]: value }), {
          code: "NX001",
          column,
        });
      }
      await assert.rejects(
        db.pool.query(
          "insert into nexus_engine.product_settings (tienda_id, producto_id, min_stock) values ($1, $2, $3)",
          [store, product, value],
        ),
        { code: "NX001", column: "min_stock" },
      );
    }
    const client = await db.pool.connect();
    await client.query("begin; set local session_replication_role = replica");
    await client.query(
      "insert into nexus_engine.store_settings (tienda_id, low_stock_threshold, critical_threshold) values ($1, 'NaN', 999999999)",
      [store],
    );
    await client.query(
      "insert into nexus_engine.product_settings (tienda_id, producto_id, min_stock) values ($1, $2, 999999999)",
      [store, product],
    );
    await client.query("set local session_replication_role = origin");
    await client.query(await readFile(migration, "utf8"));
    const { rows } = await client.query(
      `select s.low_stock_threshold::float8 as low, s.critical_threshold::float8 as critical, ps.min_stock::float8 as own
       from nexus_engine.store_settings s join nexus_engine.product_settings ps using (tienda_id) where tienda_id = $1`,
      [store],
    );
    await client.query("rollback");
    client.release();
    assert.deepEqual(rows, [{ low: 1_000_000, critical: 1_000_000, own: 1_000_000 }]);
  });

  it("is noted up to what the triggers see, which no setting changes; above it is found within a minute", async () => {
    const triggers = async () =>
      (
        await db.pool.query(
          "select array_agg(xmin::text || pg_get_triggerdef(oid) order by oid) as made from pg_trigger where tgname like 'nexus%'",
        )
      ).rows[0].made;
    const made = await triggers();
    await db.pool.query("select nexus_engine.attach()");
    assert.deepEqual(await triggers(), made, "they are those of this release");
    const store = await addStore(db.pool, { settings: { low_stock_threshold: 20 } });
    const high = await addStore(db.pool, { settings: { low_stock_threshold: 500 } });
    const others = await addStore(db.pool);
    const [seen, own, plenty, some, unseen] = [
      await addProduct(db.pool, store, { stock: 900 }),
      await addProduct(db.pool, others, { stock: 900 }),
      await addProduct(db.pool, others, { stock: 900 }),
      await addProduct(db.pool, high, { stock: 900 }),
      await addProduct(db.pool, high, { stock: 900 }),
    ];
    await db.pool.query(
      "insert into nexus_engine.product_settings (tienda_id, producto_id, min_stock) values ($1, $2, 1000000)",
      [others, own],
    );
    // Changed thresholds have their stores looked at whole until the transactions of that time have ended.
    await until("no store is looked at whole", async () => {
      await reconcile(db.pool, [store, high, others], new Date(), ["STOCK_BAJO"]);
      const { rowCount } = await db.pool.query(
        "select from nexus_engine.stock_recheck where tienda_id = any ($1)",
        [[store, high, others]],
      );
      return rowCount === 0;
    });
    assert.deepEqual(await active(others), ["STOCK_BAJO 900"]);
    for (const product of [seen, own, plenty, some]) await setStock(db.pool, product, 20.0004);
    assert.deepEqual(
      [await events(store), await events(high), await events(others)],
      [[false], [false], [false]],
    );
    await drain();
    assert.deepEqual(await active(store), ["STOCK_BAJO 20"]);
    assert.deepEqual(await active(others), ["STOCK_BAJO 20"]);
    assert.deepEqual(await active(high), ["STOCK_BAJO 20"]);
    for (const product of [own, some, unseen]) await setStock(db.pool, product, 400);
    await drain();
    assert.deepEqual(await active(high), ["STOCK_BAJO 400"]);
    // What the crontab says for every minute.
    await db.pool.query("select graphile_worker.add_job('watch_high_thresholds')");
    await runJobs(db.poolAs("nexus_worker"));
    assert.deepEqual(await active(high), ["STOCK_BAJO 400", "STOCK_BAJO 400"]);
    assert.deepEqual(await active(others), ["STOCK_BAJO 400"]);
    assert.deepEqual(await triggers(), made);
  });

  it("is recorded when it means running out and coming back", async () => {
    const store = await addStore(db.pool);
    const product = await addProduct(db.pool, store, { stock: 50 });
    const outs = async () => {
      const { rows } = await db.pool.query(
        "select back_at is not null as back, back_at - out_since < interval '1 minute' as short from nexus_engine.stock_out where producto_id = $1 order by id",
        [product],
      );
      return rows.map(({ back }) => back);
    };
    // Between two drains: out, back, out, back, out.
    for (const stock of [0, 20, 0, 4, -1]) await setStock(db.pool, product, stock);
    await drain();
    assert.deepEqual(await outs(), [true, true, false]);
    for (const stock of [30, 0, 30]) await setStock(db.pool, product, stock);
    await drain();
    assert.deepEqual(await outs(), [true, true, true, true]);
    const { rows } = await db.pool.query(
      "select bool_and(out_since <= back_at) as ordered, bool_and(back_at <= next) as apart from (select *, lead(out_since) over (order by id) as next from nexus_engine.stock_out where producto_id = $1) o",
      [product],
    );
    assert.deepEqual(rows, [{ ordered: true, apart: true }]);
  });

  it("is told within moments by a running worker, also after its connection was lost", async () => {
    const store = await addStore(db.pool);
    const product = await addProduct(db.pool, store, { stock: 50 });
    const pool = db.poolAs("nexus_worker", 2);
    pool.on("error", () => {});
    const running = startStockDrain(pool, createLog("silent"));
    const told = async (expected: string[]) => {
      for (let tries = 0; tries < 1000; tries += 1) {
        if (JSON.stringify(await active(store)) === JSON.stringify(expected)) return;
        await sleep(10);
      }
      assert.deepEqual(await active(store), expected);
    };
    await setStock(db.pool, product, 3);
    await told(["STOCK_BAJO 3"]);
    await db.pool.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'test-nexus_worker'",
    );
    await setStock(db.pool, product, 0);
    await told(["PRODUCTO_SIN_STOCK 0"]);
    await running.stop();
  });
});

describe("detach and attach", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  /** It binds nothing, so that detach() leaves it. */
  const index = "nexus_ventas_tienda_fecha";
  const ours = async () => {
    const { rows } = await db.pool.query(
      `select tgname as name from pg_trigger t join pg_class c on c.oid = t.tgrelid
       where c.relnamespace = 'public'::regnamespace and not tgisinternal
       union all select indexname from pg_indexes where schemaname = 'public' and indexname like 'nexus%' order by 1`,
    );
    return rows.map(({ name }) => name);
  };

  const triggers = [
    "nexus_insight_change",
    "nexus_line_truncate",
    "nexus_line_update",
    "nexus_product_change",
    "nexus_product_truncate",
    "nexus_sale_insert",
    "nexus_sale_truncate",
    "nexus_sale_update",
    "nexus_stock_update",
  ];

  it("are as good as off when one trigger is missing or disabled", async () => {
    const attached = async () =>
      (await db.pool.query("select nexus_engine.attached()")).rows[0].attached;
    // That of insights is for the API alone, see product_insight.test.ts.
    for (const name of triggers.slice(1)) {
      assert.equal(await attached(), true);
      const table = {
        pr: "productos",
        st: "productos",
        sa: "ventas",
        li: "detalles_venta",
      }[name.slice(6, 8)];
      await db.pool.query(`alter table ${table} disable trigger ${name}`);
      assert.equal(await attached(), false, `${name} disabled`);
      await db.pool.query(`drop trigger ${name} on ${table}`);
      assert.equal(await attached(), false, `${name} missing`);
      await db.pool.query("select nexus_engine.attach()");
    }
  });

  it("replace the triggers of the release before, which a reader does not hold up, and the rollups stay", async () => {
    await addStore(db.pool);
    await db.pool.query("select nexus_engine.note_horizon()");
    await db.pool.query("select nexus_engine.roll_up_batch(100, '{}')");
    await db.pool.query(`
      create trigger nexus_line_insert after insert on detalles_venta
        for each row when (current_setting('nexus.sale', true) is distinct from new.venta_id::text)
        execute function nexus_engine.on_line_change();
      create or replace trigger nexus_stock_update after update of stock_actual, is_active on productos
        for each row when (old.stock_actual <= 10 or new.stock_actual <= 10)
        execute function nexus_engine.on_stock_change();
      drop trigger nexus_product_change on productos;
      create trigger nexus_line_delete after delete on detalles_venta
        for each row execute function nexus_engine.on_line_change();
      create or replace trigger nexus_sale_insert after insert on ventas
        for each row execute function nexus_engine.on_sale_insert()`);
    const backup = await db.pool.connect();
    await backup.query("begin; lock table productos, ventas, detalles_venta in access share mode");
    await db.pool.query(
      "set lock_timeout = '2s'; select nexus_engine.attach(); reset lock_timeout",
    );
    await backup.query("commit");
    backup.release();
    const { rows } = await db.pool.query(`
      select nexus_engine.has_old_triggers() as old, nexus_engine.attached() as attached,
        (select count(*)::int from nexus_engine.rollup_state) as stores,
        (select array_agg(name::text order by name) from nexus_engine.own_trigger where has_condition and is_enabled) as conditions,
        (select array_agg(name::text order by name) from nexus_engine.own_trigger where not is_enabled) as disabled`);
    assert.deepEqual(rows, [
      {
        old: false,
        attached: true,
        stores: 1,
        conditions: ["nexus_insight_change", "nexus_sale_insert", "nexus_stock_update"],
        disabled: ["nexus_line_delete", "nexus_line_insert"],
      },
    ]);
    await db.pool.query("select nexus_engine.detach()");
    assert.deepEqual(await ours(), [index]);
    await db.pool.query("select nexus_engine.attach()");
    await prepareDatabase(db.url, createLog("silent"));
  });

  it("notice a trigger of the release before by its literal, and by its columns", async () => {
    const old = async () =>
      (await db.pool.query("select nexus_engine.has_old_triggers() as old")).rows[0].old;
    assert.equal(await old(), false);
    for (const trigger of [
      `create or replace trigger nexus_stock_update after update of stock_actual, is_active on productos for each row
         when (least(old.stock_actual, new.stock_actual) <= double precision '10') execute function nexus_engine.on_stock_change()`,
      `create or replace trigger nexus_product_change after insert or delete or update of nombre, sku, tipo, tienda_id on productos
         for each row execute function nexus_engine.on_product_change('10')`,
    ]) {
      await db.pool.query(trigger);
      assert.equal(await old(), true);
      await db.pool.query("select nexus_engine.attach()");
      assert.equal(await old(), false);
      const { rows } = await db.pool.query(
        "select nexus_engine.triggers_are_followed() as followed",
      );
      assert.equal(rows[0].followed, (await db.pool.query("select from productos")).rowCount === 0);
    }
  });

  it("take every trigger of ours off, and put them back, twice the same as once", async () => {
    assert.deepEqual(await ours(), [...triggers, index]);
    const store = await addStore(db.pool);
    const product = await addProduct(db.pool, store, { stock: 50 });
    for (let i = 0; i < 2; i += 1) {
      await db.pool.query("select nexus_engine.detach()");
      assert.deepEqual(await ours(), [index]);
    }
    await setStock(db.pool, product, 2);
    const count = async () =>
      (
        await db.pool.query("select from public.insights where tienda_id = $1 and is_active", [
          store,
        ])
      ).rowCount;
    for (let i = 0; i < 2; i += 1) {
      await db.pool.query("select nexus_engine.attach()");
      assert.deepEqual(await ours(), [...triggers, index]);
    }
    await reconcile(db.pool, [store], new Date(), ["STOCK_BAJO"]);
    assert.equal(await count(), 1, "what happened while detached is found");
    await db.pool.query(dropTriggers);
    await setStock(db.pool, product, 60);
    await reconcile(db.pool, [store], new Date(), ["STOCK_BAJO"]);
    assert.equal(await count(), 0, "a full pass finds what no trigger sees");
  });
});
