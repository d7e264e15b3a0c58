import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Pool, PoolClient } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, setSettings } from "../support/fixtures.ts";
import { jobsLeft, runJobs } from "../support/jobs.ts";
import { assertReportsExact, rollUp, rollupRows, rowsOfTickets } from "../support/rollups.ts";
import { dropTriggers } from "../support/triggers.ts";
import { until } from "../support/until.ts";

const hour = 3_600_000;
const ago = (hours: number) => new Date(Date.now() - hours * hour);

async function marks(pool: Pool): Promise<number> {
  return (await pool.query("select from nexus_engine.sale_mark")).rowCount ?? 0;
}

describe("a rollup", () => {
  let db: TestDatabase;
  let worker: Pool;
  let store: string;
  let product: string;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
    store = await addStore(db.pool);
    product = await addProduct(db.pool, store);
  });
  after(() => db.drop());

  const exact = async () => {
    assert.deepEqual(await rollupRows(db.pool), await rowsOfTickets(db.pool));
    await assertReportsExact(db.pool, [store], new Date());
  };
  const sale = (hours: number, more: object = {}) =>
    addSale(db.pool, store, {
      fecha: ago(hours),
      lines: [{ productoId: product, cantidad: 2, precio: 10.1 }],
      ...more,
    });

  it("has every closed day and no day that is open", async () => {
    for (const hours of [0, 30, 60, 24 * 100]) await sale(hours);
    const { stores } = await rollUp(worker);
    assert.equal(stores, 1);
    const { rows } = await db.pool.query("select total, tickets from nexus_engine.store_day");
    assert.deepEqual(rows, Array(3).fill({ total: "20.20", tickets: 1 }));
    await exact();
    assert.deepEqual(await rollUp(worker), { stores: 0, changed: 0 });
  });

  for (const [what, sql] of [
    ["a late ticket", null],
    ["a payment", "update ventas set status_pago = 'pagado' where id = $1"],
    ["a payment of what was counted", "update ventas set status_pago = 'pagado' where id = $1"],
    ["a refund", "update ventas set total = -20.2 where id = $1"],
    ["an annulment", "update ventas set status_pago = 'anulado' where id = $1"],
    ["a corrected amount", "update ventas set total = 'NaN' where id = $1"],
    ["a moved date", "update ventas set fecha = fecha - interval '26 hours' where id = $1"],
    ["a date moved into the open day", "update ventas set fecha = now() where id = $1"],
    ["a changed line", "update detalles_venta set cantidad = 5 where venta_id = $1"],
    ["a deleted line", "delete from detalles_venta where venta_id = $1"],
    [
      "a deleted ticket",
      "with l as (delete from detalles_venta where venta_id = $1) delete from ventas where id = $1",
    ],
  ] as const) {
    it(`follows ${what} of a closed day, and readers do not wait for it`, async () => {
      const id = await sale(50, {
        statusPago: what.startsWith("a payment") ? "pendiente" : "pagado",
        metodoPago: what === "a payment of what was counted" ? "tarjeta_debito" : "tarjeta",
      });
      await rollUp(worker);
      const before = await rollupRows(db.pool);
      if (sql) await db.pool.query(sql, [id]);
      else await sale(75);
      assert.ok((await marks(db.pool)) > 0);
      await assertReportsExact(db.pool, [store], new Date());
      const { changed } = await rollUp(worker);
      assert.ok(changed > 0);
      assert.equal(await marks(db.pool), 0);
      assert.notDeepEqual(await rollupRows(db.pool), before);
      await exact();
    });
  }

  it("is made anew when the store's days or its counted methods change", async () => {
    await sale(27, { statusPago: "pendiente", metodoPago: "vale" });
    for (const settings of [
      { day_starts_at: "05:30" },
      { time_zone: "Asia/Kolkata" },
      { counted_pending_methods: ["vale"] },
      { counted_pending_methods: [] },
      { time_zone: null, counted_pending_methods: null, day_starts_at: null },
    ]) {
      await setSettings(db.pool, store, settings);
      await assertReportsExact(db.pool, [store], new Date());
      assert.equal((await rollUp(worker)).stores, 1);
      await exact();
    }
  });

  it("is made for many small stores, and for few large ones, in one transaction", async () => {
    const other = await createTestDatabase();
    const shops = await Promise.all(Array.from({ length: 6 }, () => addStore(other.pool)));
    const [large] = shops;
    await other.pool.query(
      `insert into public.ventas (id, fecha, total, metodo_pago, created_at, status_pago, tienda_id)
       select gen_random_uuid(), now() - interval '1 minute' * (n + 3000), 1, 'efectivo', now(), 'pagado', $1
       from generate_series(1, 4000) n`,
      [large],
    );
    const weigh = async (shop: string | undefined) =>
      (await other.pool.query("select nexus_engine.rollup_weight($1) as weight", [shop])).rows[0];
    assert.deepEqual([await weigh(large), await weigh(shops[1])], [{ weight: 11 }, { weight: 1 }]);
    await other.pool.query("select nexus_engine.note_horizon()");
    const taken = [];
    for (;;) {
      const { rows } = await other.pool.query(
        "select stores from nexus_engine.roll_up_batch(5, '{}')",
      );
      if (rows[0].stores === 0) break;
      taken.push(rows[0].stores);
    }
    // Whichever of them the large one is, it is the last of its call.
    assert.equal(
      taken.reduce((a, b) => a + b),
      6,
    );
    assert.ok(taken.length <= 3, String(taken));
    await other.drop();
  });

  it("notices a truncated table", async () => {
    const other = await createTestDatabase();
    const shop = await addStore(other.pool);
    await addSale(other.pool, shop, { fecha: ago(50), total: 5 });
    await rollUp(other.pool);
    await other.pool.query("truncate public.ventas cascade");
    await assertReportsExact(other.pool, [shop], new Date());
    await rollUp(other.pool);
    assert.deepEqual(await rollupRows(other.pool), []);
    await other.drop();
  });

  it("is not led astray by dates that no calendar has", async () => {
    for (const fecha of [
      "infinity",
      "-infinity",
      "4714-11-24 BC",
      "294276-12-31 23:59:59Z",
      "1899-12-31 12:00:00Z",
    ]) {
      const id = await sale(1, { fecha, createdAt: new Date(), total: 7 });
      await rollUp(worker);
      await db.pool.query("update detalles_venta set cantidad = 3 where venta_id = $1", [id]);
      await db.pool.query("update ventas set fecha = $2 where id = $1", [id, ago(40)]);
      await db.pool.query("update ventas set fecha = $2 where id = $1", [id, fecha]);
      await assertReportsExact(db.pool, [store], new Date());
      await rollUp(worker);
      await exact();
    }
  });

  it("costs a checkout no mark", async () => {
    await rollUp(worker);
    const client = await db.pool.connect();
    await client.query("begin");
    const { rows } = await client.query(
      `insert into ventas (id, total, metodo_pago, status_pago, tienda_id)
       values (gen_random_uuid(), 10, 'efectivo', 'pendiente', $1) returning id`,
      [store],
    );
    for (let n = 0; n < 3; n += 1)
      await client.query("insert into detalles_venta values (gen_random_uuid(), 1, 2, 2, $1, $2)", [
        rows[0].id,
        product,
      ]);
    await client.query("commit");
    assert.equal(await marks(db.pool), 0);
    await client.query("update ventas set status_pago = 'pagado' where id = $1", [rows[0].id]);
    assert.equal(await marks(db.pool), 0);
    client.release();
    await exact();
  });

  it("follows a line put into an old ticket together with the ticket's total, or told of by mark_ticket", async () => {
    const id = await sale(50);
    await rollUp(worker);
    const line = "insert into detalles_venta values (gen_random_uuid(), 1, 2, 2, $1, $2)";
    for (const [order, total] of [
      ["before", "update ventas set total = total + 2 where id = $1"],
      ["after", "select nexus_engine.mark_ticket($1)"],
    ] as const) {
      const client = await db.pool.connect();
      await client.query("begin");
      if (order === "before") await client.query(total, [id]);
      await client.query(line, [id, product]);
      if (order === "after") await client.query(total, [id]);
      await client.query("commit");
      client.release();
      await assertReportsExact(db.pool, [store], new Date());
      await rollUp(worker);
      await exact();
    }
  });

  it("of products misses a line that contradicts its ticket's total until the nightly check", async () => {
    const id = await sale(50);
    await rollUp(worker);
    await db.pool.query("insert into detalles_venta values (gen_random_uuid(), 1, 2, 2, $1, $2)", [
      id,
      product,
    ]);
    assert.equal(await marks(db.pool), 0);
    await db.pool.query("select graphile_worker.add_job('check_rollups')");
    await runJobs(worker);
    await exact();
  });

  it("marks an old ticket and its lines once in a transaction, and what a rollback took away again", async () => {
    await rollUp(worker);
    const id = await sale(50);
    await rollUp(worker);
    const client = await db.pool.connect();
    await client.query("begin; savepoint s");
    const change = () => client.query("update ventas set total = total + 1 where id = $1", [id]);
    await change();
    await client.query("rollback to s");
    for (let n = 0; n < 3; n += 1) await change();
    await client.query("commit");
    assert.equal(await marks(db.pool), 1);
    // In one transaction with a roll-up, which takes the mark.
    await client.query("begin");
    await change();
    await client.query("select nexus_engine.roll_up_batch(100, '{}')");
    await change();
    await client.query("commit");
    client.release();
    assert.equal(await marks(db.pool), 1);
    await rollUp(worker);
    await exact();
  });

  it("never fails a sale, and the nightly check finds what was not noted", async () => {
    const id = await sale(50);
    await rollUp(worker);
    await db.pool.query("alter table nexus_engine.sale_mark rename to hidden");
    await sale(50);
    await db.pool.query("update ventas set total = 99 where id = $1", [id]);
    await db.pool.query("delete from detalles_venta where venta_id = $1", [id]);
    await db.pool.query("alter table nexus_engine.hidden rename to sale_mark");
    await rollUp(worker);
    assert.notDeepEqual(await rollupRows(db.pool), await rowsOfTickets(db.pool));
    await db.pool.query("select graphile_worker.add_job('check_rollups')");
    await runJobs(worker);
    await exact();
  });

  it("is kept by the task, with several workers at once", async () => {
    const stores = await Promise.all(Array.from({ length: 12 }, () => addStore(db.pool)));
    for (const tienda of stores) await addSale(db.pool, tienda, { fecha: ago(30), total: 1 });
    await db.pool.query("select graphile_worker.add_job('roll_up') from generate_series(1, 3)");
    await Promise.all([runJobs(worker), runJobs(worker), runJobs(worker)]);
    const { rowCount } = await db.pool.query("select from nexus_engine.rollup_state");
    assert.equal(rowCount, 13);
    assert.equal(await marks(db.pool), 0);
    await exact();
  });

  it("of one store whose data raises stops no other store, and is made good later", async () => {
    const stores = await Promise.all(Array.from({ length: 7 }, () => addStore(db.pool)));
    for (const tienda of stores) await addSale(db.pool, tienda, { fecha: ago(30), total: 1 });
    const bad = stores[3] as string;
    const failures = async () =>
      (
        await db.pool.query(
          "select tienda_id, sqlstate, occurrences, resolved_at is null as open from nexus_engine.store_failure where tipo = 'ROLLUP'",
        )
      ).rows;
    const rolled = async () =>
      (
        await db.pool.query<{ tienda_id: string }>(
          "select tienda_id from nexus_engine.store_day where tienda_id = any ($1)",
          [stores],
        )
      ).rows.map((row) => row.tienda_id);
    await db.pool.query(`alter table nexus_engine.store_day add check (tienda_id <> '${bad}')`);
    for (const task of ["roll_up", "roll_up", "check_rollups"]) {
      await db.pool.query("select graphile_worker.add_job($1)", [task]);
      await runJobs(worker);
      assert.deepEqual(await jobsLeft(db.pool), []);
    }
    assert.deepEqual((await rolled()).sort(), stores.filter((id) => id !== bad).sort());
    assert.deepEqual(await failures(), [
      { tienda_id: bad, sqlstate: "23514", occurrences: 3, open: true },
    ]);
    await assertReportsExact(db.pool, [bad], new Date());

    await db.pool.query(
      "alter table nexus_engine.store_day drop constraint store_day_tienda_id_check",
    );
    await db.pool.query("select graphile_worker.add_job('roll_up')");
    await runJobs(worker);
    assert.equal((await rolled()).length, stores.length);
    assert.deepEqual(
      (await failures()).map(({ open }) => open),
      [false],
    );
    await exact();
  });

  it("raises what may pass, for the job to be retried", async () => {
    await sale(50);
    const holder = await db.pool.connect();
    await holder.query("begin; lock table nexus_engine.store_day");
    const roller = await db.pool.connect();
    await roller.query("set lock_timeout = '50ms'; select nexus_engine.note_horizon()");
    await assert.rejects(roller.query("select nexus_engine.roll_up_batch(100, '{}')"), {
      code: "55P03",
    });
    await roller.query("reset lock_timeout");
    roller.release();
    await holder.query("commit");
    holder.release();
    await rollUp(worker);
    await exact();
  });

  it("does not lose a change that commits while its day is being rolled up", async () => {
    const id = await sale(50);
    await rollUp(worker);
    const clients = [await db.pool.connect(), await db.pool.connect(), await db.pool.connect()];
    const [seller, roller, holder] = clients as [PoolClient, PoolClient, PoolClient];
    /** Whether the roll-up waited until the change was committed: it waits for 50 ms only. */
    const overtaken = async (total: number): Promise<boolean> => {
      await seller.query("begin");
      await seller.query("update ventas set total = $2 where id = $1", [id, total]);
      // Stops the roll-up after it took the marks, before it looks at the tickets.
      await holder.query("begin; lock table nexus_engine.store_day");
      const rollingUp = roller.query("select nexus_engine.roll_up_batch(100, '{}')").then(
        () => true,
        () => false,
      );
      const waiting =
        "select from pg_locks where relation = 'nexus_engine.store_day'::regclass and not granted";
      await Promise.race([
        rollingUp,
        until("it waits", async () => (await db.pool.query(waiting)).rowCount),
      ]);
      await seller.query("commit");
      await holder.query("commit");
      return rollingUp;
    };
    try {
      await db.pool.query("update ventas set total = 1 where id = $1", [id]);
      for (let total = 2; !(await overtaken(total)); total += 1) assert.ok(total < 50);
      assert.equal(await marks(db.pool), 1);
    } finally {
      for (const client of clients) client.release(true);
    }
    await assertReportsExact(db.pool, [store], new Date());
    await rollUp(worker);
    await exact();
  });

  it("does not wait for a sale, nor a sale for it", async () => {
    const id = await sale(50);
    await rollUp(worker);
    const [first, second, roller] = [
      await db.pool.connect(),
      await db.pool.connect(),
      await db.pool.connect(),
    ];
    for (const client of [first, second, roller])
      await client.query("begin; set local lock_timeout = '2s'");
    await first.query("update ventas set total = total + 1 where id = $1", [id]);
    await roller.query("select nexus_engine.roll_up_batch(100, '{}')");
    await second.query(
      "insert into ventas select gen_random_uuid(), fecha, 3, metodo_pago, now(), status_pago, null, null, null, tienda_id from ventas where id = $1",
      [id],
    );
    for (const client of [second, first, roller]) {
      await client.query("commit");
      client.release();
    }
    await rollUp(worker);
    await exact();
  });

  it("goes with its store", async () => {
    const gone = await addStore(db.pool);
    await addSale(db.pool, gone, { fecha: ago(50), total: 5 });
    await rollUp(worker);
    await db.pool.query("delete from ventas where tienda_id = $1", [gone]);
    await db.pool.query("delete from tiendas where id = $1", [gone]);
    await worker.query("select nexus_engine.purge(now() - interval '2 days', '180 days', 1000)");
    await db.pool.query("select graphile_worker.add_job('purge')");
    await runJobs(worker);
    for (const table of ["sale_mark", "rollup_state", "store_day", "store_hour", "method_day"]) {
      const { rowCount } = await db.pool.query(
        `select from nexus_engine.${table} where tienda_id = $1`,
        [gone],
      );
      assert.equal(rowCount, 0, table);
    }
  });

  it("is not read without our triggers, and made anew after attach", async () => {
    const id = await sale(50);
    await rollUp(worker);
    await db.pool.query(dropTriggers);
    await db.pool.query("update ventas set total = 12345 where id = $1", [id]);
    await assertReportsExact(db.pool, [store], new Date());
    assert.deepEqual(await rollUp(worker), { stores: 0, changed: 0 });
    await db.pool.query("select nexus_engine.attach()");
    await assertReportsExact(db.pool, [store], new Date());
    assert.ok((await rollUp(worker)).stores > 0);
    await exact();
    await db.pool.query("alter table ventas disable trigger nexus_sale_update");
    await db.pool.query("update ventas set total = 54321 where id = $1", [id]);
    await assertReportsExact(db.pool, [store], new Date());
    await db.pool.query("select nexus_engine.attach()");
    await rollUp(worker);
    await exact();
  });

  it("survives detach and attach amid checkouts, none of which fails", async () => {
    let selling = true;
    const seller = async () => {
      const client = await db.pool.connect();
      for (let n = 0; selling; n += 1) {
        await client.query("begin");
        await client.query("select stock_actual from productos where id = $1", [product]);
        const { rows } = await client.query(
          "insert into ventas (id, fecha, total, metodo_pago, status_pago, tienda_id) values (gen_random_uuid(), $2, 1, 'efectivo', 'pagado', $1) returning id",
          [store, ago((n % 4) * 30)],
        );
        await sleep(n % 20);
        await client.query(
          "insert into detalles_venta values (gen_random_uuid(), 1, 1, 1, $1, $2)",
          [rows[0].id, product],
        );
        await client.query("update productos set stock_actual = stock_actual - 1 where id = $1", [
          product,
        ]);
        await client.query("commit");
      }
      client.release();
    };
    const sellers = [seller(), seller(), seller()];
    try {
      for (let n = 0; n < 4; n += 1) {
        await db.pool.query("select nexus_engine.detach()");
        await sleep(100);
        await db.pool.query("select nexus_engine.attach()");
        // Once each: the sellers go on leaving marks.
        await worker.query("select nexus_engine.note_horizon()");
        const once = () => worker.query("select nexus_engine.roll_up_batch(100, '{}')");
        await Promise.all([once(), once()]);
      }
    } finally {
      selling = false;
      await Promise.all(sellers);
    }
    await rollUp(worker);
    await exact();
  });
});

describe("a day that closes", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
    await db.pool.query(`
      create or replace function nexus_engine.unmarked_for() returns interval language sql immutable as $$ select interval '300 ms' $$;
      create or replace function nexus_engine.rolled_up_after() returns interval language sql immutable as $$ select interval '400 ms' $$;
      select nexus_engine.make_triggers('public.ventas')`);
  });
  after(() => db.drop());

  it("is rolled up with every ticket, also of transactions that were slow to commit and left no mark", async () => {
    const worker = db.poolAs("nexus_worker");
    const stores: string[] = [];
    for (let n = 0; n < 16; n += 1) stores.push(await addStore(db.pool));
    const started = Date.now();
    await db.pool.query(
      `insert into nexus_engine.store_settings (tienda_id, time_zone, day_starts_at)
       select id, 'UTC', (clock_timestamp() at time zone 'UTC' + interval '800 ms' + n * interval '150 ms')::time
       from unnest($1::uuid[]) with ordinality u (id, n)`,
      [stores],
    );
    const until = started + 4000;
    const seller = async (n: number) => {
      const client = await db.pool.connect();
      for (let i = n; Date.now() < until; i += 1) {
        await client.query("begin");
        await client.query(
          `insert into ventas (id, fecha, total, metodo_pago, status_pago, tienda_id)
           select gen_random_uuid(), clock_timestamp(), 1, 'efectivo', 'pagado', unnest($1::uuid[])`,
          [stores],
        );
        await sleep((i * 397) % 1200);
        await client.query("commit");
      }
      client.release();
    };
    const roller = async () => {
      while (Date.now() < until + 1000) {
        await rollUp(worker);
        await sleep(20);
      }
    };
    await Promise.all([seller(1), seller(2), seller(3), roller(), roller()]);
    const rolled = async () => {
      await rollUp(worker);
      const { rows } = await db.pool.query(
        "select count(distinct tienda_id)::int as stores, sum(tickets)::int as tickets from nexus_engine.store_day",
      );
      return rows[0];
    };
    // A busy machine lets transactions of the last days last longer.
    let counts = await rolled();
    for (const end = Date.now() + 20_000; counts.stores < 16 && Date.now() < end; ) {
      await sleep(100);
      counts = await rolled();
    }
    for (let n = 0; n < 3; n += 1) counts = await rolled();
    assert.ok(counts.stores === 16 && counts.tickets > 50, JSON.stringify(counts));
    assert.deepEqual(await rollupRows(db.pool), await rowsOfTickets(db.pool));
  });

  for (const what of ["began", "wrote", "was prepared"] as const) {
    it(`waits for a transaction that ${what} before its end`, () => waitsForOneThat(what));
  }

  /** It dates its ticket by itself, and so leaves no mark, however late that is written. */
  async function waitsForOneThat(what: "began" | "wrote" | "was prepared"): Promise<void> {
    const worker = db.poolAs("nexus_worker");
    const end = new Date(Date.now() + 600).toISOString().slice(11, 23);
    const store = await addStore(db.pool, { settings: { time_zone: "UTC", day_starts_at: end } });
    await rollUp(worker);
    const slow = await db.pool.connect();
    await slow.query("begin");
    const write = () =>
      slow.query(
        "insert into ventas (id, total, metodo_pago, status_pago, tienda_id) values (gen_random_uuid(), 1, 'efectivo', 'pagado', $1)",
        [store],
      );
    if (what === "wrote") await write();
    await sleep(1500);
    const through = async () => {
      for (let n = 0; n < 3; n += 1) await rollUp(worker);
      const { rows } = await db.pool.query(
        "select next_ends_at < now() as closed, (select count(*)::int from nexus_engine.store_day d where d.tienda_id = r.tienda_id) as days from nexus_engine.rollup_state r where tienda_id = $1",
        [store],
      );
      return rows[0];
    };
    assert.deepEqual(
      await through(),
      { closed: true, days: 0 },
      "its end is past, but it is not rolled up",
    );
    if (what !== "wrote") await write();
    assert.deepEqual(await through(), { closed: true, days: 0 }, "nor when that was written later");
    if (what === "was prepared") {
      await slow.query("prepare transaction 'slow'");
      assert.deepEqual(
        await through(),
        { closed: true, days: 0 },
        "nor when that waits for a word",
      );
    }
    await slow.query(what === "was prepared" ? "commit prepared 'slow'" : "commit");
    slow.release();
    assert.deepEqual(await through(), { closed: false, days: 1 });
  }
});
