import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addSale, addStore, reconcile, setSettings } from "../support/fixtures.ts";
import { rollUp } from "../support/rollups.ts";
import { dropTriggers } from "../support/triggers.ts";

const hour = 3_600_000;
/** Buenos Aires is three hours behind UTC: 24/11 runs from 03:00Z to 03:00Z of the day after. */
const told = "2026-11-24T23:01:00Z";
const ended = "2026-11-25T03:01:00Z";

type Summary = {
  id: string;
  mensaje: string;
  is_active: boolean;
  total: number;
  whole: boolean;
  day: string;
  gone: boolean;
};

describe("a summary", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  const summaries = async (store: string, tipo = "VENTAS_DIARIAS") => {
    const { rows } = await db.pool.query<Summary>(
      `select id, mensaje, is_active, (extra_data -> 'total_vendido')::float8 as total,
         (extra_data ->> 'dia_completo')::boolean as whole,
         coalesce(extra_data ->> 'fecha', extra_data ->> 'semana_desde') as day, extra_data ? 'resuelto_at' as gone
       from public.insights where tienda_id = $1 and tipo = $2 order by day`,
      [store, tipo],
    );
    return rows;
  };
  const only = async (store: string, tipo?: string) => {
    const rows = await summaries(store, tipo);
    assert.equal(rows.length, 1);
    return rows[0] as Summary;
  };
  const pass = async (store: string, at: string | number, tipo = "VENTAS_DIARIAS") => {
    const [row] = await reconcile(db.pool, [store], new Date(at), [tipo]);
    return [row?.inserted, row?.updated, row?.archived];
  };
  const sale = (store: string, fecha: string, total: number, more: object = {}) =>
    addSale(db.pool, store, { fecha, total, ...more });
  const annul = (id: string) =>
    db.pool.query("update public.ventas set status_pago = 'anulado' where id = $1", [id]);
  const due = async (stores: string[], at: string) => {
    const { rows } = await db.pool.query(
      "select * from nexus_engine.due_periods_v2('VENTAS_DIARIAS', $1, $2) order by subject",
      [stores, at],
    );
    return rows.map(({ subject }) => subject);
  };

  it("is told with what was sold so far, and completed in place when the day has ended", async () => {
    const store = await addStore(db.pool);
    for (const week of [17, 10]) {
      await sale(store, `2026-11-${week}T15:00:00Z`, 100); // noon
      await sale(store, `2026-11-${week}T23:30:00Z`, 300); // 20:30
    }
    await sale(store, "2026-11-24T22:59:59Z", 150);
    await sale(store, "2026-11-24T23:00:00Z", 50); // 20:00: not sold "hasta las 20:00"
    assert.deepEqual(await pass(store, told), [1, 0, 0]);
    const first = await only(store);
    assert.equal(
      first.mensaje,
      "📈 El martes 24/11 hasta las 20:00 vendiste $ 150,00 en 1 ticket: 50,0 % más que el promedio de tus últimos 2 martes hasta esa hora ($ 100,00).",
    );
    await sale(store, "2026-11-25T02:59:59Z", 100); // 23:59:59
    await sale(store, "2026-11-25T03:00:00Z", 7000); // the next day
    assert.deepEqual(await pass(store, "2026-11-25T02:59:00Z"), [0, 0, 0]);
    assert.deepEqual(await pass(store, ended), [0, 1, 0]);
    const second = await only(store);
    assert.equal(second.id, first.id);
    assert.equal(second.is_active, true);
    assert.equal(
      second.mensaje,
      "📉 El martes 24/11 vendiste $ 300,00 en 3 tickets (promedio $ 100,00): 25,0 % menos que el promedio de tus últimos 2 martes ($ 400,00).",
    );
    assert.deepEqual(await pass(store, ended), [0, 0, 0]);
    assert.deepEqual(await due([store], "2026-11-25T10:00:00Z"), []);
  });

  it("is announced as changed when it is completed", async () => {
    const store = await addStore(db.pool);
    await sale(store, "2026-11-24T15:00:00Z", 10);
    await sale(store, "2026-11-25T01:00:00Z", 10);
    await pass(store, told);
    const { id } = await only(store);
    const listener = await db.pool.connect();
    try {
      const heard: string[] = [];
      listener.on("notification", ({ payload }) => heard.push(payload ?? ""));
      await listener.query(`listen "nexus_store:${store}"`);
      await pass(store, ended);
      await listener.query("select");
      assert.equal(heard.length, 1);
      assert.match(heard[0] as string, new RegExp(`changed.*${id}|${id}.*changed`));
    } finally {
      listener.release(true);
    }
  });

  it("that comes when its day has ended already is of the whole day at once", async () => {
    const store = await addStore(db.pool);
    await sale(store, "2026-11-24T15:00:00Z", 10);
    await sale(store, "2026-11-25T02:00:00Z", 20);
    assert.deepEqual(await pass(store, "2026-11-25T12:00:00Z"), [1, 0, 0]);
    assert.deepEqual([(await only(store)).total, (await only(store)).whole], [30, true]);
  });

  it("of a day that sold only after it would have been told comes when the day has ended", async () => {
    const store = await addStore(db.pool);
    assert.deepEqual(await pass(store, told), [0, 0, 0]);
    await sale(store, "2026-11-25T01:00:00Z", 20);
    assert.deepEqual(await pass(store, ended), [1, 0, 0]);
    assert.equal((await only(store)).total, 20);
  });

  it("follows a change of the evening while the day is open", async () => {
    const store = await addStore(db.pool);
    const id = await sale(store, "2026-11-24T15:00:00Z", 40);
    await sale(store, "2026-11-24T16:00:00Z", 2);
    await pass(store, told);
    await rollUp(db.pool);
    await pass(store, "2026-11-24T23:20:00Z"); // what was noted while the store was new
    await annul(id);
    assert.deepEqual(await pass(store, "2026-11-24T23:30:00Z"), [0, 0, 0]);
    await rollUp(db.pool);
    assert.deepEqual(await pass(store, "2026-11-24T23:35:00Z"), [0, 1, 0]);
    const { total, whole } = await only(store);
    assert.deepEqual([total, whole], [2, false]);
  });

  it("is looked at once more a while after it was told, for changes that leave no mark", async () => {
    const store = await addStore(db.pool);
    await sale(store, "2026-11-24T15:00:00Z", 40);
    await pass(store, told);
    assert.deepEqual(await due([store], "2026-11-24T23:15:00Z"), []);
    assert.deepEqual(await due([store], "2026-11-24T23:15:30Z"), ["2026-11-24"]);
    await pass(store, "2026-11-24T23:16:00Z");
    assert.deepEqual(await due([store], "2026-11-25T03:00:29Z"), []);
    assert.deepEqual(await due([store], "2026-11-25T03:00:30Z"), ["2026-11-24"]);
  });

  for (const [what, change] of [
    ["an annulment", (id: string) => annul(id)],
    ["a late ticket", (_: string, store: string) => sale(store, "2026-11-24T20:00:00Z", 10)],
    ["a deletion", (id: string) => db.pool.query("delete from public.ventas where id = $1", [id])],
    [
      "a late payment",
      (_: string, store: string) =>
        db.pool.query(
          "update public.ventas set status_pago = 'pagado' where tienda_id = $1 and metodo_pago = 'transferencia'",
          [store],
        ),
    ],
  ] as const) {
    it(`is corrected in place by ${what} while its day is among the last three, then frozen`, async () => {
      const store = await addStore(db.pool, { settings: { counted_pending_methods: [] } });
      const day = async (date: string) => {
        await sale(store, `2026-11-${date}T15:00:00Z`, 5);
        return sale(store, `2026-11-${date}T16:00:00Z`, 40);
      };
      const id = await day("24");
      await sale(store, "2026-11-24T16:00:00Z", 7, {
        metodoPago: "transferencia",
        statusPago: "pendiente",
      });
      await pass(store, told);
      await pass(store, ended);
      await rollUp(db.pool);
      await pass(store, "2026-11-25T03:30:00Z");
      await day("25");
      await pass(store, "2026-11-25T23:01:00Z");
      const [before] = await summaries(store);
      assert.equal(before?.total, 45);
      await change(id, store);
      await rollUp(db.pool);
      assert.deepEqual(await pass(store, "2026-11-26T15:00:00Z"), [0, 1 + 1, 0]); // and 25/11 is completed
      const [after] = await summaries(store);
      assert.notEqual(after?.total, before?.total);
      assert.deepEqual([after?.id, after?.is_active, after?.whole], [before?.id, false, true]);
      // The day after the third it stays as it was told.
      await day("26");
      await pass(store, "2026-11-27T05:00:00Z");
      await day("27");
      await pass(store, "2026-11-28T05:00:00Z");
      await sale(store, "2026-11-24T17:00:00Z", 1000);
      await rollUp(db.pool);
      await pass(store, "2026-11-28T06:00:00Z");
      assert.equal((await summaries(store))[0]?.total, after?.total);
    });
  }

  it("is looked at again when its day is rolled up: its last changes may have left no mark", async () => {
    const store = await addStore(db.pool);
    await sale(store, "2026-11-24T15:00:00Z", 5);
    await rollUp(db.pool);
    await pass(store, ended);
    assert.deepEqual(await due([store], "2026-11-25T04:00:00Z"), []);
    // As it was before the day ended.
    await db.pool.query(
      "update nexus_engine.rollup_state set through = '2026-11-23', next_ends_at = $2 where tienda_id = $1",
      [store, "2026-11-25T03:00:00Z"],
    );
    await rollUp(db.pool);
    assert.deepEqual(await due([store], "2026-11-25T04:00:00Z"), ["2026-11-24"]);
    assert.deepEqual(await pass(store, "2026-11-25T04:00:00Z"), [0, 0, 0]);
    assert.deepEqual(await due([store], "2026-11-25T04:00:00Z"), []);
  });

  it("is corrected after its rollups were made anew, where a change left no mark", async () => {
    const store = await addStore(db.pool);
    const id = await sale(store, "2026-11-24T15:00:00Z", 5);
    await sale(store, "2026-11-24T16:00:00Z", 6);
    await rollUp(db.pool);
    await pass(store, ended);
    const client = await db.pool.connect();
    await client.query("begin; set local session_replication_role = replica");
    await client.query("delete from public.ventas where id = $1", [id]);
    await client.query("commit");
    client.release();
    await db.pool.query("select nexus_engine.rebuild_rollups($1)", [store]);
    assert.deepEqual(await pass(store, "2026-11-25T04:00:00Z"), [0, 1, 0]);
    assert.equal((await only(store)).total, 6);
  });

  it("that is muted while its days become others is of those once it is not muted", async () => {
    const store = await addStore(db.pool);
    await sale(store, "2026-11-20T05:00:00Z", 1); // 02:00
    await sale(store, "2026-11-20T15:00:00Z", 5);
    await pass(store, "2026-11-21T12:00:00Z");
    assert.equal((await summaries(store))[0]?.total, 6);
    await setSettings(db.pool, store, { muted_types: ["VENTAS_DIARIAS"] });
    await setSettings(db.pool, store, { day_starts_at: "06:00" });
    await rollUp(db.pool);
    await pass(store, "2026-11-25T12:00:00Z");
    const { rowCount } = await db.pool.query(
      "select from nexus_engine.sales_changed where tienda_id = $1",
      [store],
    );
    assert.equal(rowCount, 1, "what changes while it is muted is not noted each time");
    await setSettings(db.pool, store, { muted_types: [] });
    await pass(store, "2026-11-25T13:00:00Z");
    assert.equal((await summaries(store)).find(({ day }) => day === "2026-11-20")?.total, 5);
  });

  it("writes nothing where a change leaves its numbers alone", async () => {
    const store = await addStore(db.pool);
    const id = await sale(store, "2026-11-24T15:00:00Z", 5);
    await pass(store, ended);
    await rollUp(db.pool);
    await pass(store, "2026-11-25T03:30:00Z");
    await db.pool.query(
      "update public.ventas set fecha = fecha + interval '1 minute' where id = $1",
      [id],
    );
    await rollUp(db.pool);
    assert.deepEqual(await due([store], "2026-11-25T04:00:00Z"), ["2026-11-24"]);
    const { rows } = await db.pool.query("select xmin from public.insights where tienda_id = $1", [
      store,
    ]);
    assert.deepEqual(await pass(store, "2026-11-25T04:00:00Z"), [0, 0, 0]);
    const after = await db.pool.query("select xmin from public.insights where tienda_id = $1", [
      store,
    ]);
    assert.deepEqual(after.rows, rows);
    assert.deepEqual(await due([store], "2026-11-25T04:05:00Z"), []);
  });

  it("goes when every sale of its day was annulled, and comes back in place", async () => {
    const store = await addStore(db.pool);
    const id = await sale(store, "2026-11-24T15:00:00Z", 5);
    await pass(store, ended);
    const first = await only(store);
    await annul(id);
    await rollUp(db.pool);
    assert.deepEqual(await pass(store, "2026-11-25T04:00:00Z"), [0, 0, 1]);
    const gone = await only(store);
    assert.deepEqual([gone.is_active, gone.gone], [false, true]);
    await sale(store, "2026-11-24T16:00:00Z", 8);
    await rollUp(db.pool);
    assert.deepEqual(await pass(store, "2026-11-25T05:00:00Z"), [0, 1, 0]);
    const back = await only(store);
    assert.deepEqual([back.id, back.is_active, back.total, back.gone], [first.id, true, 8, false]);
  });

  it("that the owner dismissed stays dismissed, and is kept true; one that was deleted stays away", async () => {
    const [dismissed, deleted] = [await addStore(db.pool), await addStore(db.pool)];
    for (const store of [dismissed, deleted]) {
      await sale(store, "2026-11-24T15:00:00Z", 5);
      await sale(store, "2026-11-25T01:00:00Z", 5);
      await pass(store, told);
    }
    await db.pool.query("update public.insights set is_active = false where tienda_id = $1", [
      dismissed,
    ]);
    await db.pool.query("delete from public.insights where tienda_id = $1", [deleted]);
    await pass(dismissed, ended);
    await pass(deleted, ended);
    const { total, is_active } = await only(dismissed);
    assert.deepEqual([total, is_active], [10, false]);
    assert.deepEqual(await summaries(deleted), []);
  });

  it("of a week is corrected until the next one is told", async () => {
    const store = await addStore(db.pool);
    const id = await sale(store, "2026-11-18T15:00:00Z", 40);
    await sale(store, "2026-11-23T02:59:59Z", 2); // Sunday, 23:59:59
    await sale(store, "2026-11-23T03:00:00Z", 900); // Monday, 00:00
    assert.deepEqual(await pass(store, "2026-11-23T12:01:00Z", "VENTAS_SEMANALES"), [1, 0, 0]);
    const first = await only(store, "VENTAS_SEMANALES");
    assert.deepEqual([first.day, first.total], ["2026-11-16", 42]);
    await annul(id);
    await rollUp(db.pool);
    assert.deepEqual(await pass(store, "2026-11-25T12:00:00Z", "VENTAS_SEMANALES"), [0, 1, 0]);
    assert.equal((await only(store, "VENTAS_SEMANALES")).total, 2);
    await pass(store, "2026-11-30T12:01:00Z", "VENTAS_SEMANALES");
    await sale(store, "2026-11-19T15:00:00Z", 1000);
    await rollUp(db.pool);
    await pass(store, "2026-11-30T13:00:00Z", "VENTAS_SEMANALES");
    assert.equal((await summaries(store, "VENTAS_SEMANALES"))[0]?.total, 2);
  });

  for (const settings of [{ day_starts_at: "06:00" }, { time_zone: "Europe/London" }]) {
    it(`loses and doubles no sale when ${Object.keys(settings)} changes in the middle of a day`, async () => {
      const store = await addStore(db.pool);
      // A sale of another amount each hour of six days.
      const start = Date.parse("2026-11-20T09:00:00Z"); // 06:00
      let sold = 0;
      for (let n = 0; n < 6 * 24; n += 1) {
        const at = start + n * hour;
        const total = 1 + n / 100;
        if (at < Date.parse("2026-11-26T03:00:00Z")) {
          await sale(store, new Date(at).toISOString(), total);
          sold += total;
        }
        await pass(store, at + 90_000);
        if (at === Date.parse("2026-11-24T16:00:00Z")) await setSettings(db.pool, store, settings);
      }
      await rollUp(db.pool);
      for (const at of ["2026-11-26T10:00:00Z", "2026-11-27T12:00:00Z"]) await pass(store, at);
      const rows = await summaries(store);
      assert.equal(new Set(rows.map(({ day }) => day)).size, rows.length);
      const byDay = await db.pool.query(
        `select d.day::text, d.total
         from unnest(nexus_engine.sales_by_day($1, '2026-11-19', '2026-11-26', '2026-11-28')) d`,
        [store],
      );
      const days = new Map(byDay.rows.map((row) => [row.day, row.total]));
      assert.equal(
        Math.round([...days.values()].reduce((sum, total) => sum + total, 0) * 100),
        Math.round(sold * 100),
      );
      for (const { day, total, whole } of rows) {
        assert.deepEqual([day, total, whole], [day, days.get(day), true]);
      }
      assert.ok(rows.length >= 6);
    });
  }

  it("stays true while our triggers are off", async () => {
    const own = await createTestDatabase();
    try {
      const store = await addStore(own.pool);
      const id = await addSale(own.pool, store, { fecha: "2026-11-24T15:00:00Z", total: 5 });
      await addSale(own.pool, store, { fecha: "2026-11-24T16:00:00Z", total: 6 });
      await own.pool.query(dropTriggers);
      await reconcile(own.pool, [store], ended, ["VENTAS_DIARIAS"]);
      await own.pool.query("update public.ventas set status_pago = 'anulado' where id = $1", [id]);
      const [row] = await reconcile(own.pool, [store], "2026-11-25T04:00:00Z", ["VENTAS_DIARIAS"]);
      assert.equal(row?.updated, 1);
    } finally {
      await own.drop();
    }
  });

  it("of a bar is of the night: told before its day ends, or at its end when both are at one time", async () => {
    for (const [summaryTime, at, until] of [
      ["05:00", "2026-11-25T08:01:00Z", " hasta las 05:00"],
      ["06:00", "2026-11-25T09:01:00Z", ""],
    ] as const) {
      const store = await addStore(db.pool, {
        settings: { day_starts_at: "06:00", summary_time: summaryTime },
      });
      await sale(store, "2026-11-24T08:59:59Z", 1000); // 05:59:59, the night before
      await sale(store, "2026-11-24T09:00:00Z", 1); // 06:00
      await sale(store, "2026-11-25T06:00:00Z", 2); // 03:00
      assert.deepEqual(await pass(store, at), [1, 0, 0]);
      const { mensaje } = await only(store);
      assert.equal(
        mensaje,
        `📊 El martes 24/11${until} vendiste $ 3,00 en 2 tickets (promedio $ 1,50).`,
      );
    }
  });

  it("is withdrawn when its day is to be told later only, and told anew in its time", async () => {
    const store = await addStore(db.pool);
    await sale(store, "2026-11-24T15:00:00Z", 100);
    assert.deepEqual(await pass(store, told), [1, 0, 0]);
    // At 20:02 the day of the 24th is to begin at 22:00: until then the 23rd runs.
    await setSettings(db.pool, store, { day_starts_at: "22:00" });
    assert.deepEqual(await pass(store, "2026-11-24T23:02:00Z"), [1, 0, 1]);
    const { day, total, is_active } = await only(store);
    assert.deepEqual([day, total, is_active], ["2026-11-23", 100, true]);
    await sale(store, "2026-11-25T02:00:00Z", 7);
    assert.deepEqual(await pass(store, "2026-11-25T01:01:00Z"), [0, 1, 0]);
    assert.deepEqual(await pass(store, "2026-11-25T23:01:00Z"), [1, 0, 1]);
    assert.deepEqual(
      (await summaries(store)).map(({ day, total, is_active }) => [day, total, is_active]),
      [
        ["2026-11-23", 100, false],
        ["2026-11-24", 7, true],
      ],
    );
  });

  it("that came before one that is withdrawn is shown again, with what belongs to it now", async () => {
    const store = await addStore(db.pool);
    await sale(store, "2026-11-23T15:00:00Z", 1);
    await sale(store, "2026-11-24T15:00:00Z", 100);
    assert.deepEqual(await pass(store, "2026-11-23T23:01:00Z"), [1, 0, 0]);
    assert.deepEqual(await pass(store, told), [1, 1, 1]);
    await setSettings(db.pool, store, { day_starts_at: "22:00" });
    assert.deepEqual(await pass(store, "2026-11-24T23:02:00Z"), [0, 1, 1]);
    const { day, total, is_active } = await only(store);
    assert.deepEqual([day, total, is_active], ["2026-11-23", 100, true]);
  });

  it("says refunds as such", async () => {
    const store = await addStore(db.pool);
    await sale(store, "2026-11-24T15:00:00Z", -500);
    await sale(store, "2026-11-17T15:00:00Z", 300);
    await pass(store, ended);
    assert.equal(
      (await only(store)).mensaje,
      "📊 El martes 24/11 no vendiste y devolviste $ 500,00 en 1 ticket.",
    );
    await sale(store, "2026-11-24T15:00:00Z", 800);
    await rollUp(db.pool);
    await pass(store, "2026-11-25T05:00:00Z");
    assert.equal(
      (await only(store)).mensaje,
      "📊 El martes 24/11 vendiste $ 800,00 en 1 ticket y devolviste $ 500,00 en 1 ticket: quedaron $ 300,00, lo mismo que el martes anterior con ventas ($ 300,00).",
    );
  });

  it("says how much is not known to be paid yet", async () => {
    const store = await addStore(db.pool);
    await sale(store, "2026-11-24T15:00:00Z", 100, { statusPago: "pendiente" });
    await sale(store, "2026-11-24T15:00:00Z", 20, {
      statusPago: "pendiente",
      metodoPago: "tarjeta_debito",
    });
    await pass(store, ended);
    assert.equal(
      (await only(store)).mensaje,
      "📊 El martes 24/11 vendiste $ 120,00 en 2 tickets (promedio $ 60,00). De ese total, $ 20,00 todavía no figuran como cobrados (tarjetas, transferencias).",
    );
  });
});
