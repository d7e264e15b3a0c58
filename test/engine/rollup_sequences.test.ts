import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import type { Pool, PoolClient } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore, setSettings } from "../support/fixtures.ts";
import { holdsAlways } from "../support/property.ts";
import { assertReportsExact, rollUp, rollupRows, rowsOfTickets } from "../support/rollups.ts";

/** A pick is a number that chooses among what there is at that moment. */
const pick = fc.nat(999);
const hoursAgo = fc.oneof(
  { weight: 6, arbitrary: fc.double({ min: 0, max: 150, noNaN: true }) },
  { weight: 1, arbitrary: fc.constantFrom(0, 0.1, 0.17, 24 * 40, 24 * 4000, -5, -30) },
);
const amount = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 9_999_999 }).map((cents) => cents / 100) },
  {
    weight: 1,
    arbitrary: fc.constantFrom("NaN", "Infinity", "-Infinity", 1e300, -5.25, 0.1 + 0.2, 0.005),
  },
);
const status = fc.constantFrom("pagado", "pendiente", "anulado");
const method = fc.constantFrom("efectivo", "tarjeta_debito", "vale");

const sale = fc.record({
  op: fc.constant("sale"),
  store: pick,
  hoursAgo,
  total: amount,
  status,
  method,
  writtenHoursAgo: fc.option(hoursAgo, { freq: 3 }),
  lines: fc.array(fc.tuple(pick, amount, amount), { maxLength: 3 }),
});
const change = fc.oneof(
  fc.record({ op: fc.constant("status"), ticket: pick, status }),
  fc.record({ op: fc.constant("total"), ticket: pick, total: amount }),
  fc.record({ op: fc.constant("move"), ticket: pick, hoursAgo }),
  fc.record({ op: fc.constant("store"), ticket: pick, store: pick }),
  fc.record({ op: fc.constant("written"), ticket: pick, hoursAgo }),
  fc.record({ op: fc.constant("delete"), ticket: pick }),
  fc.record({
    op: fc.constant("line"),
    ticket: pick,
    product: pick,
    units: amount,
    subtotal: amount,
  }),
  fc.record({ op: fc.constant("change line"), line: pick, units: amount, subtotal: amount }),
  fc.record({ op: fc.constant("move line"), line: pick, ticket: pick, product: pick }),
  fc.record({ op: fc.constant("delete line"), line: pick }),
);
const settings = fc.record({
  op: fc.constant("settings"),
  store: pick,
  settings: fc.constantFrom(
    { day_starts_at: "03:15:30" },
    { day_starts_at: null },
    { time_zone: "Pacific/Chatham" },
    { time_zone: "America/St_Johns" },
    { counted_pending_methods: ["vale", "efectivo"] },
    { counted_pending_methods: [] },
    { counted_pending_methods: null },
  ),
});
const step = fc.oneof(
  { weight: 10, arbitrary: fc.record({ what: sale, held: fc.boolean() }) },
  { weight: 12, arbitrary: fc.record({ what: change, held: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ what: settings, held: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      what: fc.record({ op: fc.constant("roll up"), workers: fc.integer({ min: 1, max: 3 }) }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      what: fc.record({ op: fc.constant("end"), how: fc.constantFrom("commit", "rollback") }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ what: fc.record({ op: fc.constant("read") }) }) },
);
// biome-ignore lint/suspicious/noExplicitAny: the union of all steps
type What = any;

describe("whatever happens to tickets, lines and settings", () => {
  let db: TestDatabase;
  let worker: Pool;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
  });
  after(() => db.drop());

  let id = 0;
  const nextId = () => {
    id += 1;
    return `00000000-0000-4000-8000-${id.toString(16).padStart(12, "0")}`;
  };

  it("rollups end as a recomputation, and every read on the way is exact", async (t) => {
    await holdsAlways(
      t,
      fc.asyncProperty(
        fc.array(step, { minLength: 25, maxLength: 50, size: "max" }),
        async (steps) => {
          const stores = [
            await addStore(db.pool),
            await addStore(db.pool, {
              settings: { time_zone: "Asia/Kolkata", day_starts_at: "13:30" },
            }),
          ];
          const products: string[] = [];
          for (const store of [...stores, ...stores])
            products.push(await addProduct(db.pool, store));
          const asOf = new Date();
          /** A transaction that stays open while others go on. */
          const held = await db.pool.connect();
          await held.query("begin; set lock_timeout = '50ms'; savepoint step");
          const run = async (client: PoolClient, what: What) => {
            for (const [sql, ...values] of statements(what, { stores, products, asOf, nextId })) {
              await client.query(sql, values);
            }
          };
          try {
            for (const { what, held: inHeld } of steps as { what: What; held?: boolean }[]) {
              if (what.op === "roll up") {
                await Promise.all(Array.from({ length: what.workers }, () => rollUp(worker)));
              } else if (what.op === "read") {
                await assertReportsExact(db.pool, stores, asOf);
              } else if (what.op === "end") {
                await held.query(`${what.how}; begin; savepoint step`);
              } else if (what.op === "settings") {
                await setSettings(db.pool, stores[what.store % 2] ?? "", what.settings);
              } else if (inHeld) {
                const went = await run(held, what).then(() => true, ifBusy);
                await held.query(went ? "savepoint step" : "rollback to step");
              } else {
                const client = await db.pool.connect();
                await client.query("begin; set local lock_timeout = '50ms'");
                const went = await run(client, what).then(() => true, ifBusy);
                await client.query(went ? "commit" : "rollback");
                client.release();
              }
            }
            await rollUp(worker);
            await assertReportsExact(db.pool, stores, asOf);
            await held.query("commit");
          } finally {
            held.release(true);
          }
          await assertReportsExact(db.pool, stores, asOf);
          await rollUp(worker);
          await assertReportsExact(db.pool, stores, asOf);
          const { rowCount } = await db.pool.query("select from nexus_engine.sale_mark");
          assert.equal(rowCount, 0);
          const rows = await rollupRows(db.pool);
          assert.deepEqual(rows, await rowsOfTickets(db.pool));
          for (const table of [
            "rollup_state",
            "store_day",
            "store_hour",
            "method_day",
            "product_day",
          ]) {
            await db.pool.query(`delete from nexus_engine.${table}`);
          }
          await rollUp(worker);
          assert.deepEqual(await rollupRows(db.pool), rows);
          await db.pool.query("delete from detalles_venta; delete from ventas");
          await rollUp(worker);
          assert.deepEqual(await rollupRows(db.pool), []);
        },
      ),
      5,
    );
  });
});

/** Another transaction holds the row, or a line keeps its ticket. */
function ifBusy(error: unknown): false {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code !== "55P03" && code !== "23503") throw error;
  return false;
}

function statements(
  what: What,
  {
    stores,
    products,
    asOf,
    nextId,
  }: { stores: string[]; products: string[]; asOf: Date; nextId: () => string },
): [string, ...unknown[]][] {
  const at = (hours: number) => new Date(asOf.getTime() - hours * 3_600_000);
  const store = stores[what.store % stores.length];
  const product = products[what.product % products.length];
  const ticket =
    "(select id from ventas order by id offset ($1::int % greatest(1, (select count(*) from ventas))) limit 1)";
  const line =
    "(select id from detalles_venta order by id offset ($1::int % greatest(1, (select count(*) from detalles_venta))) limit 1)";
  switch (what.op) {
    case "sale": {
      const venta = nextId();
      const fecha = at(what.hoursAgo);
      const writtenAt = what.writtenHoursAgo === null ? fecha : at(what.writtenHoursAgo);
      return [
        [
          "insert into ventas (id, fecha, total, metodo_pago, status_pago, created_at, tienda_id) values ($1, $2, $3, $4, $5, $6, $7)",
          venta,
          fecha,
          what.total,
          what.method,
          what.status,
          writtenAt,
          store,
        ],
        ...what.lines.map(([chosen, units, subtotal]: [number, unknown, unknown]) => [
          "insert into detalles_venta values ($1, $2, 1, $3, $4, $5)",
          nextId(),
          units,
          subtotal,
          venta,
          products[chosen % products.length],
        ]),
      ];
    }
    case "status":
      return [
        [`update ventas set status_pago = $2 where id = ${ticket}`, what.ticket, what.status],
      ];
    case "total":
      return [[`update ventas set total = $2 where id = ${ticket}`, what.ticket, what.total]];
    case "move":
      return [
        [`update ventas set fecha = $2 where id = ${ticket}`, what.ticket, at(what.hoursAgo)],
      ];
    case "store":
      return [[`update ventas set tienda_id = $2 where id = ${ticket}`, what.ticket, store]];
    case "written":
      return [
        [`update ventas set created_at = $2 where id = ${ticket}`, what.ticket, at(what.hoursAgo)],
      ];
    case "delete":
      return [
        [`delete from detalles_venta where venta_id = ${ticket}`, what.ticket],
        [
          `delete from ventas v where v.id = ${ticket} and not exists (select from detalles_venta l where l.venta_id = v.id)`,
          what.ticket,
        ],
      ];
    case "line":
      // A line comes with its ticket's total, as the rollups want it.
      return [
        [`update ventas set total = total + 1 where id = ${ticket}`, what.ticket],
        [
          `insert into detalles_venta select $2, $3, 1, $4, v.id, $5 from ventas v where v.id = ${ticket}`,
          what.ticket,
          nextId(),
          what.units,
          what.subtotal,
          product,
        ],
      ];
    case "change line":
      return [
        [
          `update detalles_venta set cantidad = $2, subtotal = $3 where id = ${line}`,
          what.line,
          what.units,
          what.subtotal,
        ],
      ];
    case "move line":
      return [
        [
          `update detalles_venta set producto_id = $2, venta_id = v.id from (select id from ventas order by id desc offset ($3::int % greatest(1, (select count(*) from ventas))) limit 1) v where detalles_venta.id = ${line}`,
          what.line,
          product,
          what.ticket,
        ],
      ];
    case "delete line":
      return [[`delete from detalles_venta where id = ${line}`, what.line]];
    default:
      throw new Error(`no such step: ${what.op}`);
  }
}
