import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import type { Pool } from "pg";
import { posTables } from "../../src/database/pos.ts";
import { type SuspensionWatch, watchSuspension } from "../../src/database/suspension.ts";
import { createHealth } from "../../src/health.ts";
import { createLog } from "../../src/log.ts";
import { startWorker } from "../../src/worker/run.ts";
import { startStockDrain } from "../../src/worker/stock-drain.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { attach, detach } from "../support/detach.ts";
import { addProduct, addSale, addStore, reconcile, setStock } from "../support/fixtures.ts";
import { jobsLeft, runJobs, settings } from "../support/jobs.ts";
import { assertReportsExact, rollUp, rollupRows, rowsOfTickets } from "../support/rollups.ts";
import { until } from "../support/until.ts";

describe("a suspended worker", () => {
  let db: TestDatabase;
  let pool: Pool;
  let suspension: SuspensionWatch;
  const lines: { level: string; msg: string }[] = [];
  const log = createLog("info", { write: (line) => lines.push(JSON.parse(line)) });
  const said = (...levels: string[]) =>
    lines.filter(({ level }) => levels.includes(level)).map(({ msg }) => msg);
  before(async () => {
    db = await createTestDatabase();
    pool = db.poolAs("nexus_worker", 10);
    suspension = await watchSuspension(pool, log, 50);
  });
  let stop = async () => {};
  afterEach(async () => {
    await stop();
    stop = async () => {};
    await hide("disable", ...posTables);
    await suspension.look();
    await db.pool.query("delete from graphile_worker._private_jobs");
    lines.length = 0;
  });
  after(async () => {
    await suspension.stop();
    await db.drop();
  });

  const hide = (how: "enable" | "disable", ...tables: string[]) =>
    db.pool.query(
      tables.map((name) => `alter table public.${name} ${how} row level security`).join(";"),
    );
  const alerts = async (store: string) => {
    const { rows } = await db.pool.query<{ name: string }>(
      `select p.nombre as name from public.insights i
       join public.productos p on p.id = (i.extra_data ->> 'producto_id')::uuid
       where i.tienda_id = $1 and i.is_active order by 1`,
      [store],
    );
    return rows.map(({ name }) => name);
  };
  const pools = async () =>
    (await db.pool.query("select from nexus_engine.worker_pool")).rowCount ?? 0;

  it("takes no jobs, loses none, and makes up for all of it afterwards", async () => {
    const store = await addStore(db.pool, { settings: { low_stock_threshold: 7 } });
    const names = ["A", ...posTables.map((name) => `while ${name}`), "while detached"];
    const products = new Map<string, string>();
    for (const nombre of [...names, "never"]) {
      products.set(nombre, await addProduct(db.pool, store, { nombre, stock: 40 }));
    }
    const low = (nombre: string) => setStock(db.pool, products.get(nombre) ?? "", 6);
    const worker = await startWorker({ pool, concurrency: 2, settings, log, suspension });
    stop = () => worker.stop();
    const told: string[] = [];
    await low("A");
    told.push("A");
    await until("it works", async () => (await alerts(store)).length === 1);
    const thresholds = async () =>
      (await db.pool.query("select * from nexus_engine.store_settings")).rows;
    const memory = await thresholds();
    for (const [begin, end, nombre] of [
      ...posTables.map(
        (table) =>
          [() => hide("enable", table), () => hide("disable", table), `while ${table}`] as const,
      ),
      [() => detach(db), () => attach(db), "while detached"] as const,
    ]) {
      await begin();
      await until(`it rests ${nombre}`, async () => (await pools()) === 0);
      await low(nombre);
      await addSale(db.pool, store, {
        fecha: new Date(Date.now() - 50 * 3_600_000),
        lines: [{ productoId: products.get(nombre) ?? "", cantidad: 1, precio: 10 }],
      });
      await db.pool.query("select graphile_worker.add_job('roll_up', max_attempts => 1)");
      const untouched = await db.pool.query(
        "select from graphile_worker.jobs where task_identifier = 'roll_up' and attempts = 0",
      );
      assert.ok(untouched.rowCount);
      await end();
      told.push(nombre);
      await until(`it tells what happened ${nombre}`, async () =>
        (await alerts(store)).includes(nombre),
      );
      await until("the jobs are done", async () => (await jobsLeft(db.pool)).length === 0);
      assert.deepEqual(await alerts(store), told.sort(), nombre);
    }
    await rollUp(pool);
    await assertReportsExact(db.pool, [store], new Date());
    assert.deepEqual(await thresholds(), memory);
    const total = await db.pool.query(
      "select from public.insights where tienda_id = $1 and tipo = 'STOCK_BAJO'",
      [store],
    );
    assert.equal(total.rowCount, told.length);
    const failed = await db.pool.query(
      `select task, outcome, error_code from nexus_engine.job_run
       where outcome in ('failed', 'timed_out') and error_message not like '%; a newer job has replaced it'
       union all select tipo, sqlstate, message from nexus_engine.store_failure`,
    );
    assert.deepEqual(failed.rows, []);
    const states = posTables.length + 1;
    // Whoever alters a table has it locked, for which a job may be tried again.
    const errors = said("error").filter((msg) => msg !== "failed");
    assert.equal(errors.length, states, errors.join("\n"));
    for (const error of errors) assert.match(error, /^suspended: .*\. To mend it: /);
    assert.match(errors[0] ?? "", /public\.tiendas.*alter role nexus_owner bypassrls;/);
    const over = said("info").filter((msg) => msg.startsWith("not suspended any more"));
    assert.equal(over.length, states);
  });

  it("is exact in the end when rows are hidden and shown at any moment, while the shops sell", async () => {
    const store = await addStore(db.pool);
    const products: string[] = [];
    for (let n = 0; n < 30; n += 1) {
      products.push(await addProduct(db.pool, store, { nombre: `P${n}`, stock: 40 }));
    }
    const worker = await startWorker({ pool, concurrency: 3, settings, log, suspension });
    stop = () => worker.stop();
    const notices: unknown[] = [];
    let selling = true;
    const sell = async (seller: number) => {
      const till = await db.pool.connect();
      till.on("notice", ({ message }) => notices.push(message));
      for (let n = 0; selling; n += 1) {
        // Each has products of its own, and goes through all levels with them.
        const product = products[(n * 3 + seller) % products.length] ?? "";
        const stock = [2, 0, 40, 9][n % 4];
        await till.query("update public.productos set stock_actual = $2 where id = $1", [
          product,
          stock,
        ]);
        const { rows } = await till.query(
          `with sold as (
             insert into public.ventas (id, fecha, total, metodo_pago, status_pago, created_at, tienda_id)
             values (gen_random_uuid(), now() - $2 * interval '1 hour', 20, 'efectivo', 'pagado', now(), $1) returning id)
           insert into public.detalles_venta (id, cantidad, precio_unitario, subtotal, venta_id, producto_id)
           select gen_random_uuid(), 2, 10, 20, id, $3 from sold returning venta_id`,
          [store, (n % 5) * 30, product],
        );
        if (n % 3 === 0) {
          await till.query(
            "update public.detalles_venta set cantidad = 1, subtotal = 10 where venta_id = $1",
            [rows[0].venta_id],
          );
        }
      }
      till.release(true);
    };
    const sellers = [0, 1, 2].map(sell);
    for (let n = 0; n < 4; n += 1) {
      for (const table of posTables) {
        await hide("enable", table);
        await db.pool.query(
          `select graphile_worker.add_job('generate_all_insights', max_attempts => 1);
           select graphile_worker.add_job('roll_up', max_attempts => 1)`,
        );
        await sleep(n * 40);
        await hide("disable", table);
        await sleep(n * 40);
      }
    }
    selling = false;
    await Promise.all(sellers);
    assert.deepEqual(notices, []);
    const told = async (query: string) => (await db.pool.query(query, [store])).rows;
    const wanted = await told(
      `select nombre, case when stock_actual = 0 then 'PRODUCTO_SIN_STOCK' else 'STOCK_BAJO' end as tipo
       from public.productos where tienda_id = $1 and stock_actual <= 10 order by 1`,
    );
    const active = () =>
      told(
        `select p.nombre, i.tipo from public.insights i
         join public.productos p on p.id = (i.extra_data ->> 'producto_id')::uuid
         where i.tienda_id = $1 and i.is_active order by 1, 2`,
      );
    await until("all is told", async () => isDeepStrictEqual(await active(), wanted));
    // Those that met several suspensions come back after some seconds each.
    await until("the jobs are done", async () => (await jobsLeft(db.pool)).length === 0, 60_000);
    assert.deepEqual(await active(), wanted);
    await rollUp(pool);
    assert.deepEqual(await rollupRows(db.pool), await rowsOfTickets(db.pool));
    await assertReportsExact(db.pool, [store], new Date());
    const { rows: failed } = await db.pool.query(
      `select task, outcome, error_code from nexus_engine.job_run where outcome in ('failed', 'timed_out')
         and error_message not like '%; a newer job has replaced it'
       union all select tipo, sqlstate, message from nexus_engine.store_failure where resolved_at is null`,
    );
    assert.deepEqual(failed, []);
  });

  it("fails no job that was at work when that began, and uses up none of its attempts", async () => {
    const store = await addStore(db.pool);
    const product = await addProduct(db.pool, store, { stock: 2 });
    await reconcile(pool, [store], new Date());
    const { rows } = await db.pool.query("select (nexus_engine.request_refresh($1)).id", [store]);
    await db.pool.query(
      `update graphile_worker._private_jobs set max_attempts = 1;
       select graphile_worker.add_job('generate_all_insights', max_attempts => 1);
       select graphile_worker.add_job('check_stock', max_attempts => 1);
       select graphile_worker.add_job('check_rollups', max_attempts => 1)`,
    );
    await hide("enable", "tiendas", "productos", "ventas");
    await setStock(db.pool, product, 0);
    for (let n = 0; n < 3; n += 1) {
      await db.pool.query("update graphile_worker._private_jobs set run_at = now()");
      await runJobs(pool, { suspension });
    }
    const left = await jobsLeft(db.pool);
    assert.equal(left.length, 4);
    for (const { attempts, max_attempts, last_error } of left) {
      assert.deepEqual([attempts, max_attempts], [0, 1]);
      assert.match(last_error ?? "", /^suspended: row level security of public\.productos/);
    }
    const { rows: late } = await db.pool.query(
      "select from graphile_worker._private_jobs where run_at > now() + interval '2 seconds'",
    );
    assert.deepEqual(late, [], "none waits longer than after its first failure");
    const { rows: ledger } = await db.pool.query(
      "select distinct outcome, error_code from nexus_engine.job_run where job_id = any ($1)",
      [left.map(({ id }) => id)],
    );
    assert.deepEqual(ledger, [{ outcome: "retrying", error_code: "SUSPENDED" }]);
    const status = async () => {
      const asked = await db.pool.query(
        "select status from nexus_engine.refresh_request where id = $1",
        [rows[0].id],
      );
      return asked.rows[0].status;
    };
    assert.equal(await status(), "running");
    assert.equal(said("error").length, 1);
    await hide("disable", "tiendas", "productos", "ventas");
    await suspension.look();
    await db.pool.query("update graphile_worker._private_jobs set run_at = now()");
    await runJobs(pool, { suspension });
    assert.deepEqual(await jobsLeft(db.pool), []);
    assert.equal(await status(), "succeeded");
    assert.deepEqual(await alerts(store), ["Yerba 1 kg"]);
    const { rows: failures } = await db.pool.query("select * from nexus_engine.store_failure");
    assert.deepEqual(failures, []);
  });

  for (const table of ["insights", "productos", "tiendas"]) {
    it(`fails no store and no request of an owner for rows of ${table} that are hidden`, async () => {
      const store = await addStore(db.pool);
      const product = await addProduct(db.pool, store, { stock: 40 });
      await reconcile(pool, [store], new Date());
      await db.pool.query("select nexus_engine.request_refresh($1)", [store]);
      await setStock(db.pool, product, 1);
      await hide("enable", table);
      await runJobs(pool, { suspension });
      const { rows } = await db.pool.query(
        `select status from nexus_engine.refresh_request where tienda_id = '${store}'
         union all select tipo from nexus_engine.store_failure`,
      );
      assert.deepEqual(rows, [{ status: "running" }]);
      await hide("disable", table);
      await db.pool.query("update graphile_worker._private_jobs set run_at = now()");
      await runJobs(pool, { suspension });
      assert.deepEqual(await alerts(store), ["Yerba 1 kg"]);
    });
  }

  it("has a drain that rests, without a fault, and tells afterwards", async () => {
    const store = await addStore(db.pool);
    const product = await addProduct(db.pool, store, { stock: 40 });
    await reconcile(pool, [store], new Date());
    await hide("enable", "productos");
    const faults: string[] = [];
    const health = { ...createHealth(), failed: (work: string) => faults.push(work) };
    const drain = startStockDrain(pool, log, health, suspension);
    stop = () => drain.stop();
    await setStock(db.pool, product, 1);
    await until("it has been looked at", () => said("error").length > 0);
    await hide("disable", "productos");
    await until("it is told", async () => (await alerts(store)).length === 1);
    assert.deepEqual(faults, []);
    assert.deepEqual(
      said("error").filter((msg) => !msg.startsWith("suspended: ")),
      [],
    );
  });

  it("is told of when somebody dropped what looks, and ends when that is back", async () => {
    await db.pool.query("alter table nexus_engine.detached rename to elsewhere");
    assert.match((await suspension.look())?.remedy ?? "", /nexus_engine\.detached.* restart/);
    await db.pool.query("alter table nexus_engine.elsewhere rename to detached");
    assert.equal(await suspension.look(), undefined);
  });

  it("is not made by an error of the same kind that has another cause, unless all was made anew just now", async () => {
    await db.pool.query("select graphile_worker.add_job('refused', max_attempts => 3)");
    await db.pool.query(
      "update nexus_engine.migration set applied_at = applied_at - interval '1 minute'",
    );
    const { defineTask } = await import("../../src/worker/define-task.ts");
    const { z } = await import("zod");
    const refused = defineTask({
      payload: z.unknown(),
      run: ({ transaction }) =>
        transaction(async (client) => {
          await client.query("select from public.users");
          return {};
        }),
    });
    await runJobs(pool, { suspension, tasks: { refused } });
    const [job] = await jobsLeft(db.pool);
    assert.match(job?.last_error ?? "", /permission denied/);
    assert.equal(job?.max_attempts, 1);

    // Nobody looked while that was so.
    await db.pool.query("select nexus_engine.detach(); select nexus_engine.attach()");
    await db.pool.query("select graphile_worker.add_job('refused', max_attempts => 3)");
    await runJobs(pool, { suspension, tasks: { refused } });
    const again = (await jobsLeft(db.pool)).at(-1);
    assert.match(again?.last_error ?? "", /the database was changed a moment ago/);
    assert.equal(again?.max_attempts, 3);
  });
});
