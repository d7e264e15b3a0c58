import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { takesWrites } from "../../src/engine.ts";
import { createHealth } from "../../src/health.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addSale, addStore } from "../support/fixtures.ts";

describe("the POS's clock", () => {
  let db: TestDatabase;
  let store: string;
  before(async () => {
    db = await createTestDatabase();
  });
  beforeEach(async () => {
    await db.pool.query(
      "truncate nexus_engine.look, nexus_engine.late_ticket, nexus_engine.pos_clock",
    );
    await db.pool.query("delete from public.ventas");
    store = await addStore(db.pool);
    await look();
  });
  after(() => db.drop());

  /** What the look of the next minute has to say. */
  const look = async (): Promise<string[]> => {
    await db.pool.query("update nexus_engine.look set looked_at = looked_at - interval '1 minute'");
    const { rows } = await db
      .poolAs("nexus_worker", 1)
      .query("select * from nexus_engine.look_at_pos_clock()");
    return rows.map(({ minutes, is_over }) => `${minutes} ${is_over ? "is over" : "found"}`);
  };
  /** Tickets that come now, dated so many minutes ahead, with created_at as the POS sends it. */
  const sell = async (...minutes: number[]) => {
    for (const ahead of minutes) {
      await addSale(db.pool, store, { fecha: new Date(Date.now() + ahead * 60_000), total: 1 });
    }
  };
  const skew = async (id = store) => {
    const { rows } = await db.pool.query(
      "select minutes from nexus_engine.pos_clock where tienda_id = $1",
      [id],
    );
    return rows[0]?.minutes ?? null;
  };

  for (const ahead of [180, -60, -120, 330]) {
    it(`is noticed when ${ahead} minutes off, said once, and again when it is right`, async () => {
      await sell(ahead, ahead);
      assert.deepEqual(await look(), []);
      assert.equal(await skew(), null);
      await sell(ahead);
      assert.deepEqual(await look(), [`${ahead} found`]);
      assert.equal(await skew(), ahead);
      await sell(ahead, ahead, ahead);
      assert.deepEqual(await look(), []);
      // While the shop is closed nothing is known.
      assert.deepEqual(await look(), []);
      assert.equal(await skew(), ahead);
      await sell(0, 0);
      assert.deepEqual(await look(), []);
      await sell(0);
      assert.deepEqual(await look(), [`${ahead} is over`]);
      assert.equal(await skew(), null);
      assert.equal((await db.pool.query("select from nexus_engine.pos_clock")).rowCount, 0);
    });
  }

  it("needs no second look where nothing else can be the reason", async () => {
    await sell(0, 0, -60, -60, -60, -60, -60);
    assert.deepEqual(await look(), ["-60 found"]);
    await sell(180, 180, 180);
    assert.deepEqual((await look()).sort(), ["-60 is over", "180 found"]);
  });

  it("is told with cause and cure, to readiness as well", async () => {
    await sell(180, 180);
    await look();
    await sell(180);
    await look();
    const { rows } = await db
      .poolAs("nexus_server", 1)
      .query("select code, message from nexus_engine.clock_warnings()");
    assert.deepEqual(
      rows.map(({ code }) => code),
      ["POS_CLOCK"],
    );
    assert.match(rows[0].message, /180 minutes in the future.*TZ=UTC/);
    const health = createHealth();
    const isReady = () => takesWrites(db.poolAs("nexus_server", 1), health);
    assert.equal(await isReady(), true);
    assert.deepEqual(health.warnings(), [rows[0].message]);
    await sell(0, 0, 0);
    await look();
    assert.equal(await isReady(), true);
    assert.deepEqual(health.warnings(), []);
  });

  it("is said once for all stores, and is over when it is for the last one", async () => {
    const first = store;
    const second = await addStore(db.pool);
    const both = async (...minutes: number[]) => {
      for (store of [first, second]) await sell(...minutes);
      return look();
    };
    await both(180, 180);
    assert.deepEqual(await both(180), ["180 found"]);
    store = first;
    await sell(0, 0, 0);
    await look();
    await sell(0);
    assert.deepEqual(await look(), []);
    assert.deepEqual([await skew(first), await skew(second)], [null, 180]);
    await db.pool.query("update public.tiendas set is_active = false where id = $1", [second]);
    assert.deepEqual(await look(), ["180 is over"]);
  });

  const quiet: [string, number[][]][] = [
    ["tickets on time, and seconds off", [[0, 0.2, -0.3], [0, 1, -1], [0]]],
    ["one odd ticket", [[180], [0], [-75], [0, 0]]],
    ["a till that was offline and sends its tickets at once", [[-180, -179, -178, -181], [0], [0]]],
    ["an import of the day", [[-600, -480, -300, -200, -100, -60], [0], [-700, -500, -90], [0]]],
    ["an import that goes on", Array(3).fill([-700, -500, -181, -180, -179, -100, -60])],
    [
      "a few tickets entered late among others",
      [
        [-65, 0, 0],
        [-64, 0],
        [-66, 0, 0],
        [-65, 0],
      ],
    ],
    [
      "older tickets",
      [
        [-2000, -2000, -2000],
        [-2000, -2000],
      ],
    ],
    [
      "dates nobody can mean",
      [
        [9e7, 9e7, 9e7],
        [9e7, 9e7],
      ],
    ],
  ];
  for (const [what, sales] of quiet) {
    it(`is not taken for wrong by ${what}`, async () => {
      for (const minutes of sales) {
        await sell(...minutes);
        assert.deepEqual(await look(), []);
      }
      assert.equal(await skew(), null);
    });
  }

  it("is not told by old tickets that change, nor by those that came while nobody looked", async () => {
    await db.pool.query("alter table public.ventas disable trigger nexus_sale_insert");
    await sell(-60, -60, -60, -60);
    await db.pool.query("alter table public.ventas enable trigger nexus_sale_insert");
    await look();
    for (const _ of [1, 2, 3]) {
      await db.pool.query("update public.ventas set status_pago = 'anulado'");
      assert.deepEqual(await look(), []);
    }
    await sell(60, 61, 62, 61);
    await db.pool.query("update nexus_engine.look set looked_at = looked_at - interval '1 hour'");
    assert.deepEqual(await look(), []);
    assert.deepEqual(await look(), []);
    assert.equal(await skew(), null);
  });

  it("is looked at by one worker a minute, by the POS's own index, and costs a sale on time nothing", async () => {
    await sell(0, 0);
    const worker = db.poolAs("nexus_worker", 2);
    await db.pool.query("update nexus_engine.look set looked_at = now() - interval '1 minute'");
    const turns = await Promise.all(
      [1, 2].map(async () => {
        const { rows } = await worker.query(
          "select taken from nexus_engine.take_look('the POS''s clock', '50 seconds')",
        );
        return rows[0].taken;
      }),
    );
    assert.deepEqual(turns.sort(), [false, true]);
    const { rows } = await db.pool.query("select from nexus_engine.late_ticket");
    assert.equal(rows.length, 0);
    await db.pool.query("drop index if exists public.nexus_ventas_tienda_fecha");
    const client = await db.pool.connect();
    await client.query("begin; set local enable_seqscan = off");
    const plan = await client.query(
      `explain select v.tienda_id from public.ventas v
       where v.fecha > now() - interval '10 minutes' and v.fecha < now() + interval '15 hours'`,
    );
    await client.query("rollback");
    client.release();
    assert.match(JSON.stringify(plan.rows), /ix_ventas_fecha/);
  });
});
