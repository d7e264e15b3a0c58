import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, beforeEach, describe, it } from "node:test";
import type { Pool } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { drainOutbox } from "../support/drain.ts";
import {
  addProduct,
  addSale,
  addStore,
  reconcile,
  setSettings,
  setStock,
} from "../support/fixtures.ts";
import { runJobs } from "../support/jobs.ts";
import { PosInsights } from "../support/pos_insights.ts";
import { rollUp } from "../support/rollups.ts";

type Row = {
  id: string;
  tipo: string;
  mensaje: string;
  is_active: boolean;
  extra_data: Record<string, unknown>;
};

describe("one alert a product, whoever made it", () => {
  let db: TestDatabase;
  let worker: Pool;
  let store: string;
  let pos: PosInsights;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
  });
  after(() => db.drop());
  beforeEach(async () => {
    store = await addStore(db.pool);
    pos = new PosInsights(db.pool, store);
  });

  const all = async (): Promise<Row[]> =>
    (
      await db.pool.query<Row>(
        "select id, tipo, mensaje, is_active, extra_data from public.insights where tienda_id = $1 order by tipo, created_at, id",
        [store],
      )
    ).rows;
  const active = async () => (await all()).filter((row) => row.is_active);
  const types = async () => (await active()).map(({ tipo }) => tipo);
  const pass = (at: Date = new Date(), tipos: string[] | null = null) =>
    reconcile(worker, [store], at, tipos);
  const hoursAgo = (hours: number) => new Date(Date.now() - hours * 3_600_000);
  /** As if a person had taken his time. */
  const later = () =>
    db.pool.query("update nexus_engine.insight_mark set at = at - interval '1 minute'");
  /** A row as an older release of the POS, or a script, may have left it. */
  const addInsight = async (tipo: string, producto: string | null, at: Date, urgencia = "ALTA") => {
    const id = randomUUID();
    await db.pool.query(
      "insert into public.insights values ($1, $2, 'Stock actual: 0 unidades', $3, true, $4, $5, $6)",
      [id, tipo, urgencia, producto && { producto_id: producto }, at, store],
    );
    return id;
  };
  const marks = async () =>
    (
      await db.pool.query<{ what: string }>(
        "select what from nexus_engine.insight_mark where tienda_id = $1 order by id",
        [store],
      )
    ).rows.map(({ what }) => what);
  const ours = (row: Row | undefined) => {
    assert.ok(row && "unidad" in row.extra_data, `not our words: ${row?.mensaje}`);
  };

  it("adopts what stands when it comes, the newest of each product, and archives what is not so", async () => {
    const low = await addProduct(db.pool, store, { stock: 4 });
    const full = await addProduct(db.pool, store, { stock: 500 });
    await db.pool.query("alter table public.insights disable trigger nexus_insight_change");
    const old = await addInsight("STOCK_BAJO", low, hoursAgo(50));
    const newest = await addInsight("STOCK_BAJO", low, hoursAgo(30));
    const wrong = await addInsight("STOCK_BAJO", full, hoursAgo(3), "CRITICA");
    const twice = await addInsight("STOCK_BAJO", full, hoursAgo(2), "CRITICA");
    const nameless = await addInsight("STOCK_BAJO", null, hoursAgo(3));
    const gone = await addInsight("STOCK_BAJO", randomUUID(), hoursAgo(3));
    const others = await addInsight("PRODUCTO_POPULAR", low, hoursAgo(3));
    await db.pool.query("alter table public.insights enable trigger nexus_insight_change");
    assert.deepEqual(await marks(), []);
    await pass();
    const rows = await all();
    const of = (id: string) => rows.find((row) => row.id === id);
    assert.deepEqual(
      (await active()).map(({ id }) => id).sort(),
      [newest, others].sort(),
      "the POS's app keeps the id",
    );
    ours(of(newest));
    for (const id of [old, wrong, twice, nameless, gone]) assert.ok(of(id)?.extra_data.resuelto_at);
    assert.equal(of(others)?.mensaje, "Stock actual: 0 unidades");
    assert.deepEqual(await marks(), []);
    const again = await pass(undefined, ["STOCK_BAJO"]);
    assert.deepEqual(again, [
      { tipo: "STOCK_BAJO", inserted: 0, updated: 0, archived: 0, failed: 0 },
    ]);
  });

  it("finds what stood before the trigger by the job that attaching enqueues, and tells by the drain", async () => {
    const low = await addProduct(db.pool, store, { stock: 4 });
    await pass();
    await db.pool.query("alter table public.insights disable trigger nexus_insight_change");
    await addInsight("STOCK_BAJO", low, hoursAgo(-1));
    await db.pool.query("alter table public.insights enable trigger nexus_insight_change");
    assert.equal((await active()).length, 2);
    await db.pool.query("select graphile_worker.add_job('check_stock')");
    await runJobs(worker);
    await drainOutbox(worker);
    assert.equal((await active()).length, 1);
    // While it cannot be noted, each pass looks, also where all was told.
    await pass();
    await db.pool.query("alter table public.insights disable trigger nexus_insight_change");
    try {
      await addInsight("STOCK_BAJO", low, hoursAgo(-2));
      await pass();
      assert.equal((await active()).length, 1);
    } finally {
      await db.pool.query("alter table public.insights enable trigger nexus_insight_change");
    }
  });

  it("lets the POS refresh beside it: it finds ours, and what it adds is adopted or archived", async () => {
    await addProduct(db.pool, store, { stock: 4 });
    await addProduct(db.pool, store, { stock: 0 });
    await addSale(db.pool, store, { fecha: "2026-11-10T13:00:00Z", total: 500 });
    const at = new Date("2026-11-10T14:00:00Z");
    const drain = () => drainOutbox(worker, 250, at);
    assert.equal(await pos.refresh({ at }), 4);
    const before = await active();
    await drain();
    assert.deepEqual(await types(), ["PRODUCTO_SIN_STOCK", "STOCK_BAJO", "VENTAS_DIARIAS"]);
    const adopted = await active();
    for (const row of adopted) {
      if (row.tipo !== "VENTAS_DIARIAS") ours(row);
      assert.ok(before.some(({ id }) => id === row.id));
    }
    let total = 0;
    for (let n = 0; n < 8; n += 1) {
      // Of the product at zero STOCK_BAJO.
      assert.equal(await pos.refresh({ at, between: async () => void (await drain()) }), 1);
      assert.deepEqual(await active(), adopted);
      total ||= (await all()).length;
    }
    assert.equal((await all()).length, total, "repeats pile up");
  });

  it("keeps the newest of ours and the POS's, so that it makes no further one", async () => {
    await addProduct(db.pool, store, { stock: 4 });
    await pass(hoursAgo(60));
    const [first] = await active();
    for (const hours of [30, 1]) {
      assert.equal(await pos.refresh({ at: hoursAgo(hours) }), 1, "ours is too old to be found");
      await drainOutbox(worker);
      const [row, ...more] = await active();
      assert.deepEqual(more, []);
      assert.notEqual(row?.id, first?.id);
      ours(row);
      assert.equal(await pos.refresh({ at: hoursAgo(hours) }), 0);
    }
    assert.equal((await all()).length, 2, "the first of those that were replaced is deleted");
    // One that ours came after.
    await addInsight(
      "STOCK_BAJO",
      (await active())[0]?.extra_data.producto_id as string,
      hoursAgo(40),
    );
    const [row] = await active();
    await drainOutbox(worker);
    assert.equal((await active()).length, 1);
    assert.notEqual((await active())[0]?.id, row?.id);
  });

  it("adopts the POS's sales of the day for the latest day that was told", async () => {
    const evening = new Date("2026-11-10T23:30:00Z");
    await addSale(db.pool, store, { fecha: "2026-11-10T15:00:00Z", total: 500 });
    await addSale(db.pool, store, { fecha: "2026-11-11T13:00:00Z", total: 70 });
    await pass(evening);
    const [told] = await active();
    assert.equal(told?.extra_data.fecha, "2026-11-10");
    const noon = new Date("2026-11-11T14:00:00Z");
    const drain = () => drainOutbox(worker, 250, noon);
    assert.equal(await pos.refresh({ at: noon }), 1);
    await drain();
    const [adopted, ...more] = await active();
    assert.deepEqual(more, []);
    assert.notEqual(adopted?.id, told?.id);
    assert.equal(adopted?.extra_data.fecha, "2026-11-10");
    assert.match(adopted?.mensaje ?? "", /El martes 10/);
    assert.equal(await pos.refresh({ at: noon }), 0);
    // The next day takes its place as it does with ours.
    await pass(new Date("2026-11-11T23:30:00Z"));
    assert.deepEqual(
      (await active()).map(({ extra_data }) => extra_data.fecha),
      ["2026-11-11"],
    );
  });

  it("tells the first day of a store in the POS's own row", async () => {
    await addSale(db.pool, store, { fecha: "2026-11-10T15:00:00Z", total: 500 });
    await pos.refresh({ at: new Date("2026-11-10T22:00:00Z") });
    const [theirs] = await active();
    await pass(new Date("2026-11-10T23:30:00Z"));
    const [row, ...more] = await active();
    assert.deepEqual([row?.id, row?.extra_data.fecha, more], [theirs?.id, "2026-11-10", []]);
  });

  it("leaves the POS's sales of the day while there is no summary of ours to put in their place", async () => {
    const at = (time: string) => new Date(`2026-11-${time}:00Z`);
    const refresh = async (time: string) => {
      const written = await pos.refresh({ at: at(time) });
      await drainOutbox(worker, 250, at(time));
      return written;
    };
    const only = async () => {
      const [row, ...more] = await active();
      assert.deepEqual(more, []);
      return row;
    };
    // Nothing sold at the summary time, and something afterwards.
    await pass(at("10T23:30"));
    await pass(at("11T23:30"));
    const sale = await addSale(db.pool, store, { fecha: at("11T23:40"), total: 70 });
    assert.equal(await refresh("11T23:41"), 1);
    const first = await only();
    assert.match(first?.mensaje ?? "", /^Hoy facturaste 70/);
    assert.equal(await refresh("11T23:42"), 0, "it finds its own");
    await pass(at("11T23:45"));
    assert.deepEqual(await only(), first);
    // The day has ended.
    await pass(at("12T03:30"));
    const told = await only();
    assert.deepEqual([told?.id, told?.extra_data.fecha], [first?.id, "2026-11-11"]);
    // The sale is annulled, and our summary withdrawn. What the POS says then is of later sales.
    await db.pool.query("update public.ventas set status_pago = 'anulado' where id = $1", [sale]);
    await rollUp(worker);
    await pass(at("12T12:00"));
    assert.deepEqual(await active(), []);
    await addSale(db.pool, store, { fecha: at("12T13:00"), total: 80 });
    for (const time of ["12T13:01", "12T19:02"]) {
      assert.equal(await refresh(time), 1);
      await pass(at(time));
      assert.match((await only())?.mensaje ?? "", /^Hoy facturaste 80/);
    }
    assert.equal(await refresh("12T19:03"), 0);
    // Dismissed it stays.
    const last = await only();
    await pos.dismiss(last?.id as string);
    await drainOutbox(worker, 250, at("12T19:04"));
    await later();
    await drainOutbox(worker, 250, at("12T19:05"));
    assert.equal(await refresh("12T19:06"), 1);
    assert.deepEqual(await active(), []);
    // Ours comes.
    await pass(at("12T23:30"));
    assert.equal((await only())?.extra_data.fecha, "2026-11-12");
  });

  it("leaves dismissed what was dismissed on either side, and keeps one repeat", async () => {
    const products = [
      await addProduct(db.pool, store, { stock: 8 }),
      await addProduct(db.pool, store, { stock: 8 }),
      await addProduct(db.pool, store, { stock: 8 }),
    ];
    await pass();
    const rows = await active();
    await pos.dismiss(rows[0]?.id as string);
    await dismissHere(rows[1]?.id as string);
    await drainOutbox(worker);
    for (let n = 0; n < 5; n += 1) {
      assert.equal(await pos.refresh(), 2);
      await drainOutbox(worker);
      assert.deepEqual(
        (await active()).map(({ id }) => id),
        [rows[2]?.id],
      );
      assert.equal((await all()).length, 5);
    }
    // Their own archived rows stay when the POS deletes what is archived: the dismissal does as well.
    await pos.clearAll(true);
    await pos.refresh();
    await drainOutbox(worker);
    assert.equal((await active()).length, 1);
    // Worse than dismissed.
    for (const product of products) await setStock(db.pool, product, 2);
    await drainOutbox(worker);
    assert.equal((await active()).length, 3);
  });

  const dismissHere = async (id: string) => {
    const client = await db.pool.connect();
    try {
      // As nexus_api.dismiss_insight does.
      await client.query("begin; set local role nexus_owner");
      await client.query("update public.insights set is_active = false where id = $1", [id]);
      await client.query("commit");
    } finally {
      client.release();
    }
  };

  it("does not take the POS's forced refresh for dismissals, whoever looks in between", async () => {
    for (const stock of [8, 4, 0]) await addProduct(db.pool, store, { stock });
    await setSettings(db.pool, store, { low_stock_threshold: 20 });
    // Low to us alone.
    await addProduct(db.pool, store, { stock: 15 });
    await pass();
    const before = await active();
    assert.equal(before.length, 4);
    const looks = [
      async () => {},
      async () => void (await drainOutbox(worker)),
      async () => void (await pass()),
    ];
    for (const between of looks) {
      assert.equal(await pos.refresh({ force: true, between }), 4);
      await drainOutbox(worker);
      const during = await active();
      assert.equal(during.length, 3, "the POS's own are adopted");
      for (const row of during) ours(row);
      await later();
      await drainOutbox(worker);
      const now = await active();
      assert.equal(now.length, 4, "and what it did not make again is told");
      for (const row of during) assert.ok(now.some(({ id }) => id === row.id));
      assert.deepEqual(await marks(), []);
    }
  });

  it("tells again after the POS's forced refresh what had been dismissed, but not what is dismissed after it", async () => {
    for (const stock of [8, 7, 6]) await addProduct(db.pool, store, { stock });
    await pass();
    await pos.dismiss((await active())[0]?.id as string);
    await drainOutbox(worker);
    await pos.refresh({ force: true });
    await drainOutbox(worker);
    const rows = await active();
    assert.equal(rows.length, 3);
    await pos.dismiss(rows[0]?.id as string);
    await drainOutbox(worker);
    await later();
    await drainOutbox(worker);
    await pos.refresh();
    await drainOutbox(worker);
    assert.equal((await active()).length, 2);
  });

  it("keeps dismissed what was dismissed after a forced refresh, though it looks only later", async () => {
    for (const stock of [8, 7, 6]) await addProduct(db.pool, store, { stock });
    await pass();
    const [first] = await active();
    await setSettings(db.pool, store, { low_stock_threshold: 20 });
    await addProduct(db.pool, store, { stock: 15 });
    await pass();
    await pos.refresh({ force: true });
    // Ours alone: a script shows it again, and it is dismissed at once.
    const own = (await all()).find(({ extra_data }) => extra_data.stock_actual === 15)
      ?.id as string;
    await db.pool.query("update public.insights set is_active = true where id = $1", [own]);
    await pos.dismiss(own);
    for (let n = 0; n < 2; n += 1) {
      await later();
      await drainOutbox(worker);
    }
    const now = (await active()).map(({ id }) => id);
    assert.equal(now.length, 3);
    assert.ok(!now.includes(own) && !now.includes(first?.id as string));
  });

  it("takes a dismissal before a forced refresh for none, though it looks only after it", async () => {
    for (const stock of [8, 7, 6]) await addProduct(db.pool, store, { stock });
    await pass();
    await pos.dismiss((await active())[0]?.id as string);
    await pos.refresh({ force: true });
    await drainOutbox(worker);
    assert.equal((await active()).length, 3);
  });

  it("takes one of two for dismissed, however soon the POS refreshes", async () => {
    for (const stock of [8, 7]) await addProduct(db.pool, store, { stock });
    await pass();
    const [one, two] = await active();
    await pos.dismiss(one?.id as string);
    await pos.refresh();
    await drainOutbox(worker);
    assert.deepEqual(
      (await active()).map(({ id }) => id),
      [two?.id],
    );
  });

  it("leaves a dismissed summary dismissed after a forced refresh", async () => {
    for (const stock of [8, 7]) await addProduct(db.pool, store, { stock });
    await addSale(db.pool, store, { fecha: "2026-11-10T15:00:00Z", total: 500 });
    const at = new Date("2026-11-10T23:30:00Z");
    await pass(at);
    const summary = (await active()).find(({ tipo }) => tipo === "VENTAS_DIARIAS")?.id as string;
    await pos.dismiss(summary);
    await drainOutbox(worker);
    await pos.refresh({ force: true, at });
    await drainOutbox(worker, 250, at);
    await later();
    await drainOutbox(worker, 250, at);
    assert.deepEqual(await types(), ["STOCK_BAJO", "STOCK_BAJO"]);
  });

  it("keeps dismissed what had been cleared, was told as worse and is dismissed then", async () => {
    const low = await addProduct(db.pool, store, { stock: 8 });
    await pass();
    await pos.clearAll();
    await drainOutbox(worker);
    await setStock(db.pool, low, 2);
    await drainOutbox(worker);
    await pos.dismiss((await active())[0]?.id as string);
    await drainOutbox(worker);
    await later();
    await pos.refresh();
    await drainOutbox(worker);
    assert.deepEqual(await active(), []);
  });

  it("shows the summary again that a forced refresh archived and the POS did not make", async () => {
    await addProduct(db.pool, store, { stock: 5 });
    await addSale(db.pool, store, { fecha: "2026-11-10T15:00:00Z", total: 500 });
    const at = new Date("2026-11-12T12:00:00Z");
    await pass(at);
    const summary = (await active()).find(({ tipo }) => tipo === "VENTAS_DIARIAS");
    assert.ok(!summary, "its day has passed");
    await pass(new Date("2026-11-10T23:30:00Z"));
    const told = (await active()).filter(({ tipo }) => tipo === "VENTAS_DIARIAS");
    assert.equal(told.length, 1);
    await pos.refresh({ force: true, at });
    await drainOutbox(worker);
    assert.deepEqual(await types(), ["STOCK_BAJO"]);
    await later();
    await drainOutbox(worker);
    assert.deepEqual(
      (await active()).filter(({ tipo }) => tipo === "VENTAS_DIARIAS").map(({ id }) => id),
      told.map(({ id }) => id),
    );
  });

  it("tells a forced refresh of a store with one alert from its dismissal by the time between", async () => {
    await addProduct(db.pool, store, { stock: 5 });
    await pass();
    for (const between of [async () => void (await drainOutbox(worker)), async () => {}]) {
      await pos.refresh({ force: true, between });
      await drainOutbox(worker);
      assert.deepEqual(await types(), ["STOCK_BAJO"]);
      ours((await active())[0]);
      await later();
      await drainOutbox(worker);
      assert.deepEqual(await types(), ["STOCK_BAJO"]);
    }
    // A person is not as quick.
    await pos.dismiss((await active())[0]?.id as string);
    await drainOutbox(worker);
    await later();
    await pos.refresh();
    await drainOutbox(worker);
    assert.deepEqual(await active(), []);
    await pass();
    assert.deepEqual(await active(), []);
  });

  it("tells nothing after the POS cleared all, until the POS makes it again", async () => {
    for (const stock of [8, 4, 0]) await addProduct(db.pool, store, { stock });
    await pass();
    const [dismissed] = await active();
    await pos.dismiss(dismissed?.id as string);
    await drainOutbox(worker);
    await pos.clearAll();
    await drainOutbox(worker);
    await pass();
    assert.deepEqual(await all(), []);
    // Three low, of which one is out, and that one's being out was dismissed.
    assert.equal(await pos.refresh(), 4);
    await drainOutbox(worker);
    assert.deepEqual(await types(), ["STOCK_BAJO", "STOCK_BAJO"]);
    for (const row of await active()) ours(row);
  });

  it("keeps dismissed what was deleted and restored before it was dismissed", async () => {
    for (const stock of [8, 7]) await addProduct(db.pool, store, { stock });
    await pass();
    const [row] = await active();
    const restore = `insert into public.insights select * from jsonb_populate_record(null::public.insights, $1)`;
    const { rows } = await db.pool.query(
      "delete from public.insights i where id = $1 returning to_jsonb(i) as kept",
      [row?.id],
    );
    await db.pool.query(restore, [rows[0].kept]);
    await drainOutbox(worker);
    assert.equal((await active()).length, 2);
    await pos.dismiss(row?.id as string);
    await pos.refresh();
    await drainOutbox(worker);
    assert.equal((await active()).length, 1);
  });

  it("leaves away what our clearInsights deleted, though the POS makes it again, until it is forced", async () => {
    for (const stock of [8, 4]) await addProduct(db.pool, store, { stock });
    await pass();
    const client = await db.pool.connect();
    // As nexus_api.clear_insights does.
    await client.query("begin; set local role nexus_owner");
    await client.query("delete from public.insights where tienda_id = $1", [store]);
    await client.query("commit");
    client.release();
    await pos.refresh();
    await drainOutbox(worker);
    assert.deepEqual(await active(), []);
    await pos.refresh();
    await worker.query(
      "select nexus_engine.refresh_available(null, array[$1]::uuid[], true, now())",
      [store],
    );
    assert.deepEqual(await types(), ["STOCK_BAJO", "STOCK_BAJO"]);
    await drainOutbox(worker);
    assert.deepEqual(await types(), ["STOCK_BAJO", "STOCK_BAJO"]);
  });

  it("archives what the owner has muted, and leaves alone what is disabled or not ours", async () => {
    for (const stock of [8, 4]) await addProduct(db.pool, store, { stock });
    await setSettings(db.pool, store, { muted_types: ["STOCK_BAJO"] });
    await pass();
    for (let n = 0; n < 3; n += 1) {
      assert.equal(await pos.refresh(), 2);
      await drainOutbox(worker);
      assert.deepEqual(await active(), []);
      assert.equal((await all()).length, 2);
    }
    await addSale(db.pool, store, { fecha: "2026-11-10T13:00:00Z", total: 500 });
    const at = new Date("2026-11-10T14:00:00Z");
    await setSettings(db.pool, store, { muted_types: ["STOCK_BAJO", "VENTAS_DIARIAS"] });
    await pos.refresh({ at });
    await drainOutbox(worker, 250, at);
    assert.deepEqual(await active(), []);
    await db.pool.query(
      "update nexus_engine.insight_type set enabled = false where tipo = 'STOCK_BAJO'",
    );
    try {
      await pos.refresh();
      await addInsight("PRODUCTO_POPULAR", null, new Date());
      await drainOutbox(worker);
      assert.deepEqual(await types(), ["PRODUCTO_POPULAR", "STOCK_BAJO", "STOCK_BAJO"]);
      assert.deepEqual(await marks(), []);
    } finally {
      await db.pool.query("update nexus_engine.insight_type set enabled = true");
    }
  });

  it("says to whoever listens which ids went and which came", async () => {
    const one = await addProduct(db.pool, store, { stock: 5 });
    const full = await addProduct(db.pool, store, { stock: 500 });
    await pass(hoursAgo(30));
    const [ours] = await active();
    const listener = await db.pool.connect();
    const heard: Record<string, string[]>[] = [];
    listener.on("notification", ({ payload }) => heard.push(JSON.parse(payload ?? "{}")));
    await listener.query(`listen "nexus_store:${store}"`);
    try {
      const theirs = await addInsight("STOCK_BAJO", one, new Date());
      const wrong = await addInsight("STOCK_BAJO", full, new Date());
      await drainOutbox(worker);
      await listener.query("select");
      assert.deepEqual(
        heard.map((kinds) => ({ ...kinds, resolved: kinds.resolved?.sort() })),
        [{ new: [theirs], resolved: [ours?.id, wrong].sort() }],
      );
      heard.length = 0;
      const again = await addInsight("STOCK_BAJO", full, new Date());
      await pass();
      await listener.query("select");
      assert.deepEqual(heard, [{ resolved: [again] }]);
    } finally {
      listener.removeAllListeners("notification");
      await listener.query("unlisten *");
      listener.release();
    }
  });

  it("never fails what the POS writes, and takes its own writes for its own", async () => {
    const low = await addProduct(db.pool, store, { stock: 5 });
    await pass();
    await setStock(db.pool, low, 60);
    await drainOutbox(worker);
    await setStock(db.pool, low, 5);
    // Whoever runs it.
    await reconcile(db.pool, [store], new Date());
    assert.deepEqual(await marks(), []);
    await db.pool.query("alter table nexus_engine.insight_mark rename to away");
    try {
      await pos.dismiss((await active())[0]?.id as string);
      await addInsight("STOCK_BAJO", low, new Date());
      await pos.clearAll();
    } finally {
      await db.pool.query("alter table nexus_engine.away rename to insight_mark");
    }
    assert.deepEqual(await all(), []);
  });

  it("leaves a closed store alone, and forgets what is gone", async () => {
    await addProduct(db.pool, store, { stock: 0 });
    await pass();
    await db.pool.query("update public.tiendas set is_active = false where id = $1", [store]);
    await pos.refresh();
    await drainOutbox(worker);
    assert.deepEqual(await types(), ["PRODUCTO_SIN_STOCK", "STOCK_BAJO"]);
    assert.deepEqual(await marks(), []);
    await db.pool.query("update public.tiendas set is_active = true where id = $1", [store]);
    await pass();
    assert.deepEqual(await types(), ["PRODUCTO_SIN_STOCK"]);
    const repeats = async () =>
      (
        await db.pool.query("select from nexus_engine.repeated_insight where tienda_id = $1", [
          store,
        ])
      ).rowCount;
    assert.equal(await repeats(), 1);
    await pos.clearAll();
    await worker.query("select nexus_engine.purge(now(), '180 days', 1000)");
    assert.equal(await repeats(), 0);
  });

  it("keeps its notes where hidden rows are shown again before it can say why", async () => {
    await addInsight("STOCK_BAJO", await addProduct(db.pool, store, { stock: 4 }), hoursAgo(-1));
    const client = await db.pool.connect();
    try {
      for (const table of ["insights", "tiendas"]) {
        await client.query(
          `begin; alter table public.${table} enable row level security;
           create or replace function nexus_engine.is_passing(sqlstate text) returns boolean
             language sql as 'select false';
           set local role nexus_worker; set local row_security = off`,
        );
        const adopting = client.query(
          "select nexus_engine.adopt_insights(array[$1]::uuid[], now())",
          [store],
        );
        await assert.rejects(adopting, /row-level security/);
        await client.query("rollback");
      }
    } finally {
      client.release();
    }
    await drainOutbox(worker);
    assert.equal((await active()).length, 1);
  });

  it("leaves what was moved to another store to whoever has that one locked", async () => {
    const other = await addStore(db.pool);
    const low = await addProduct(db.pool, other, { stock: 4 });
    await pass();
    const id = await addInsight("STOCK_BAJO", low, new Date());
    await db.pool.query("update public.insights set tienda_id = $1 where id = $2", [other, id]);
    const text = async () =>
      (await db.pool.query("select mensaje from public.insights where id = $1", [id])).rows[0]
        .mensaje;
    const holder = await db.pool.connect();
    await holder.query("select pg_advisory_lock(nexus_engine.store_lock($1))", [other]);
    try {
      await drainOutbox(worker);
      assert.deepEqual(await marks(), []);
      const { rows } = await db.pool.query(
        "select from nexus_engine.open_insight where insight_id = $1",
        [id],
      );
      assert.deepEqual(rows, []);
    } finally {
      await holder.query("select pg_advisory_unlock_all()");
      holder.release();
    }
    await drainOutbox(worker);
    assert.match(await text(), /^⚠️ Te quedan 4 unidades/);
  });

  it("stops no other alert where it cannot decide", async () => {
    const low = await addProduct(db.pool, store, { stock: 4 });
    const other = await addProduct(db.pool, store, { stock: 60 });
    await pass();
    const name = "nexus_engine.foreign_insights(uuid[], bigint[], timestamptz)";
    await db.pool.query(`alter function ${name} rename to away`);
    try {
      await addInsight("STOCK_BAJO", low, hoursAgo(-1));
      await setStock(db.pool, other, 3);
      await drainOutbox(worker);
      assert.equal((await active()).length, 3);
      await pass();
    } finally {
      await db.pool.query(
        "alter function nexus_engine.away(uuid[], bigint[], timestamptz) rename to foreign_insights",
      );
    }
    // The nightly check finds what was left.
    await worker.query("select nexus_engine.note_product_insights()");
    await drainOutbox(worker);
    assert.equal((await active()).length, 2);
  });

  it("waits for no row that the POS holds, and mends it afterwards", async () => {
    const low = await addProduct(db.pool, store, { stock: 5 });
    await pass(hoursAgo(30));
    const [first] = await active();
    const other = await addStore(db.pool);
    const theirs = new PosInsights(db.pool, other);
    await addProduct(db.pool, other, { stock: 4 });
    await addInsight("STOCK_BAJO", low, new Date());
    await theirs.refresh();
    const holder = await db.pool.connect();
    await holder.query("begin");
    await holder.query("select from public.insights where id = $1 for update", [first?.id]);
    try {
      await drainOutbox(worker);
      const { rows } = await db.pool.query(
        "select extra_data ? 'unidad' as is_ours from public.insights where tienda_id = $1 and is_active",
        [other],
      );
      assert.deepEqual(rows, [{ is_ours: true }]);
      assert.equal((await active()).length, 2);
    } finally {
      await holder.query("commit");
      holder.release();
    }
    await db.pool.query("delete from nexus_engine.store_held_up");
    await drainOutbox(worker);
    assert.equal((await active()).length, 1);
  });
});
