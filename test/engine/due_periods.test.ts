import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addSale, addStore, reconcile } from "../support/fixtures.ts";

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;

describe("summaries by state, not by tick", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  const summaries = async (store: string, tipo = "VENTAS_DIARIAS") => {
    const { rows } = await db.pool.query(
      `select extra_data ->> 'fecha' as day, extra_data ->> 'vendido_hasta' as until, is_active from public.insights
       where tienda_id = $1 and tipo = $2 order by 1`,
      [store, tipo],
    );
    return rows;
  };
  const run = (store: string, at: string | number) =>
    reconcile(db.pool, [store], new Date(at), ["VENTAS_DIARIAS", "VENTAS_SEMANALES"]);
  const due = async (store: string, at: string | number) => {
    const { rows } = await db.pool.query(
      "select * from nexus_engine.due_periods_v2('VENTAS_DIARIAS', $1, $2)",
      [[store], new Date(at)],
    );
    return rows.map(({ subject }) => subject).sort();
  };
  /** What a roll-up notes when it finds that sales of past days changed. */
  const noteChange = (store: string) =>
    db.pool.query("select nexus_engine.note_sales_changed(array[$1::uuid], false)", [store]);
  /** A sale at noon UTC of each of these days. */
  const sales = async (store: string, from: string, days: number) => {
    for (let i = 0; i < days; i += 1) {
      await addSale(db.pool, store, {
        fecha: new Date(Date.parse(`${from}T12:00:00Z`) + i * day),
        total: 10,
      });
    }
  };

  it("gives exactly one summary when the worker was down over 20:00 and up at 23:10", async () => {
    const store = await addStore(db.pool);
    await sales(store, "2026-11-23", 2);
    await run(store, "2026-11-23T23:05:00Z");
    await run(store, "2026-11-24T22:55:00Z"); // 19:55, the last tick before it went down
    await run(store, "2026-11-25T02:10:00Z"); // 23:10
    await run(store, "2026-11-25T02:15:00Z");
    const before = { day: "2026-11-23", until: "2026-11-24T03:00:00Z", is_active: false };
    assert.deepEqual(await summaries(store), [
      before,
      { day: "2026-11-24", until: "2026-11-24T23:00:00Z", is_active: true },
    ]);
    await run(store, "2026-11-25T03:05:00Z"); // the day is over
    assert.deepEqual(await summaries(store), [
      before,
      { day: "2026-11-24", until: "2026-11-25T03:00:00Z", is_active: true },
    ]);
  });

  it("waits until the sales of the last second have been committed", async () => {
    const store = await addStore(db.pool);
    assert.deepEqual(await due(store, "2026-11-24T23:00:29Z"), ["2026-11-23"]);
    assert.deepEqual(await due(store, "2026-11-24T23:00:30Z"), ["2026-11-24"]);
    await run(store, "2026-11-24T23:30:00Z");
    assert.deepEqual(await due(store, "2026-11-25T03:00:29Z"), []);
    assert.deepEqual(await due(store, "2026-11-25T03:00:30Z"), ["2026-11-24"]);
  });

  it("makes up for missed days of stores it was serving, none older than three days", async () => {
    const store = await addStore(db.pool);
    await sales(store, "2026-11-10", 10);
    assert.deepEqual(
      await due(store, "2026-11-11T12:00:00Z"),
      ["2026-11-10"],
      "a new store: the latest only",
    );
    await run(store, "2026-11-11T12:00:00Z");
    assert.deepEqual(await due(store, "2026-11-13T12:00:00Z"), ["2026-11-11", "2026-11-12"]);
    assert.deepEqual(await due(store, "2026-11-18T12:00:00Z"), [
      "2026-11-15",
      "2026-11-16",
      "2026-11-17",
    ]);
    await run(store, "2026-11-18T12:00:00Z");
    assert.deepEqual(
      (await summaries(store)).map(({ day, is_active }) => [day, is_active]),
      [
        ["2026-11-10", false],
        ["2026-11-15", false],
        ["2026-11-16", false],
        ["2026-11-17", true],
      ],
    );
  });

  it("looks again at a day that had no sales, when it has ended and when its sales changed", async () => {
    const store = await addStore(db.pool);
    await run(store, "2026-11-24T23:01:00Z");
    assert.deepEqual(await due(store, "2026-11-24T23:06:00Z"), []);
    assert.deepEqual(await due(store, "2026-11-25T03:01:00Z"), ["2026-11-24"]);
    const late = await addSale(db.pool, store, {
      fecha: "2026-11-24T20:00:00Z",
      total: 33,
      statusPago: "pendiente",
      metodoPago: "cheque",
    });
    await run(store, "2026-11-25T03:01:00Z");
    assert.deepEqual(await due(store, "2026-11-25T04:00:00Z"), []);
    assert.deepEqual(await summaries(store), []);
    await db.pool.query("update public.ventas set status_pago = 'pagado' where id = $1", [late]);
    await noteChange(store);
    assert.deepEqual(await due(store, "2026-11-25T04:00:00Z"), ["2026-11-24"]);
    await run(store, "2026-11-25T04:00:00Z");
    await run(store, "2026-11-25T05:00:00Z");
    assert.deepEqual(await summaries(store), [
      { day: "2026-11-24", until: "2026-11-25T03:00:00Z", is_active: true },
    ]);
  });

  it("completes the last day before the worker was down, however long that was", async () => {
    const store = await addStore(db.pool);
    await sales(store, "2026-11-24", 1);
    await run(store, "2026-11-24T23:01:00Z");
    await addSale(db.pool, store, { fecha: "2026-11-25T01:00:00Z", total: 10 });
    assert.deepEqual(await due(store, "2026-12-20T12:00:00Z"), [
      "2026-11-24",
      "2026-12-17",
      "2026-12-18",
      "2026-12-19",
    ]);
    await run(store, "2026-12-20T12:00:00Z");
    assert.deepEqual(await summaries(store), [
      { day: "2026-11-24", until: "2026-11-25T03:00:00Z", is_active: true },
    ]);
    assert.deepEqual(await due(store, "2026-12-20T12:05:00Z"), []);
  });

  it("does not leave a summary active whose successor was told before it", async () => {
    const store = await addStore(db.pool);
    const sale = (fecha: string) => addSale(db.pool, store, { fecha, total: 10 });
    await run(store, "2026-11-22T23:01:00Z");
    await run(store, "2026-11-23T23:01:00Z");
    await sale("2026-11-24T12:00:00Z");
    await run(store, "2026-11-24T23:01:00Z");
    await sale("2026-11-23T12:00:00Z");
    await noteChange(store);
    await run(store, "2026-11-25T00:00:00Z");
    assert.deepEqual(await summaries(store), [
      { day: "2026-11-23", until: "2026-11-24T03:00:00Z", is_active: false },
      { day: "2026-11-24", until: "2026-11-24T23:00:00Z", is_active: true },
    ]);
  });

  it("is neither told nor taken back while its store is closed, and made up for when it opens", async () => {
    const store = await addStore(db.pool);
    await sales(store, "2026-11-23", 2);
    await run(store, "2026-11-24T04:00:00Z");
    const told = await summaries(store);
    assert.deepEqual(told, [{ day: "2026-11-23", until: "2026-11-24T03:00:00Z", is_active: true }]);
    await db.pool.query("update public.tiendas set is_active = false where id = $1", [store]);
    await db.pool.query(
      "update public.ventas set status_pago = 'anulado' where tienda_id = $1 and fecha < '2026-11-24'",
      [store],
    );
    await noteChange(store);
    await run(store, "2026-11-25T04:00:00Z");
    assert.deepEqual(await summaries(store), told);
    await db.pool.query("update public.tiendas set is_active = true where id = $1", [store]);
    await run(store, "2026-11-25T05:00:00Z");
    assert.deepEqual(await summaries(store), [
      { ...told[0], is_active: false },
      { day: "2026-11-24", until: "2026-11-25T03:00:00Z", is_active: true },
    ]);
    const { rows } = await db.pool.query(
      "select extra_data ->> 'resuelto_at' as resolved from public.insights where tienda_id = $1 order by extra_data ->> 'fecha'",
      [store],
    );
    assert.deepEqual(
      rows.map(({ resolved }) => resolved),
      ["2026-11-25T05:00:00Z", null],
    );
  });

  it("is one a period even where nobody takes the reconciler's locks", async () => {
    const store = await addStore(db.pool);
    await sales(store, "2026-11-16", 9);
    const period = "select inserted from nexus_engine.reconcile_period('VENTAS_DIARIAS', $1, $2)";
    const values = [[store], "2026-11-24T23:01:00Z"];
    const first = await db.pool.connect();
    await first.query("begin");
    assert.equal((await first.query(period, values)).rows[0].inserted, 1);
    const second = db.pool.query(period, values);
    const waiting = async () =>
      (
        await db.pool.query(
          "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
      ).rowCount;
    while (!(await waiting())) await sleep(10);
    await first.query("commit");
    first.release();
    assert.equal((await second).rows[0].inserted, 0);
    assert.equal((await summaries(store)).length, 1);
  });

  it("is one a period for ever, dismissed, deleted or run by ten at once", async () => {
    const store = await addStore(db.pool);
    await sales(store, "2026-11-16", 9);
    const at = "2026-11-24T23:01:00Z";
    await Promise.all(Array.from({ length: 10 }, () => run(store, at)));
    assert.equal((await summaries(store)).length, 1);
    assert.equal((await summaries(store, "VENTAS_SEMANALES")).length, 1);
    await db.pool.query("update public.insights set is_active = false where tienda_id = $1", [
      store,
    ]);
    await run(store, at);
    await run(store, "2026-11-25T03:01:00Z");
    assert.deepEqual(await summaries(store), [
      { day: "2026-11-24", until: "2026-11-25T03:00:00Z", is_active: false },
    ]);
    await db.pool.query("delete from public.insights where tienda_id = $1", [store]);
    await noteChange(store);
    await run(store, "2026-11-25T03:06:00Z");
    assert.equal((await summaries(store)).length, 0);
    assert.equal((await summaries(store, "VENTAS_SEMANALES")).length, 0);
  });

  for (const [timeZone, summaryUtc] of [
    ["Asia/Kolkata", "2026-11-24T14:30:00Z"],
    ["America/St_Johns", "2026-11-24T23:30:00Z"],
    ["Pacific/Chatham", "2026-11-24T06:15:00Z"],
  ] as const) {
    it(`comes at 20:00 in ${timeZone}, each day once, ticking every five minutes`, async () => {
      const store = await addStore(db.pool, { settings: { time_zone: timeZone } });
      const end = Date.parse(summaryUtc);
      // One sale in the last second of each of two days, one in the first of the next.
      for (const at of [end - day - 1000, end - 1000, end]) {
        await addSale(db.pool, store, { fecha: new Date(at), total: 1 });
      }
      const inserted: string[] = [];
      const around = (at: number) => [-10, -5, 0, 5, 10].map((minutes) => at + minutes * minute);
      const midnight = end + 4 * hour;
      for (const at of [end - day, end - day / 2, end, midnight].flatMap(around)) {
        // The crontab ticks at minutes 1, 6, 11 and so on.
        const tick = at + minute;
        const rows = await run(store, tick);
        if (rows[0]?.inserted) inserted.push(new Date(tick).toISOString());
      }
      assert.deepEqual(
        inserted,
        [end - day, end].map((at) => new Date(at + minute).toISOString()),
      );
      assert.deepEqual(
        (await summaries(store)).map(({ until }) => until),
        [midnight - day, midnight].map((at) => `${new Date(at).toISOString().slice(0, 19)}Z`),
      );
    });
  }
});
