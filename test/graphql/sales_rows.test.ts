import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, addUser } from "../support/fixtures.ts";
import { type Api, startApi } from "./api.ts";
import { cents, openShop, report, sum } from "./shop.ts";

let db: TestDatabase;
before(async () => {
  db = await createTestDatabase();
});
after(() => db.drop());

describe("the sales reports", () => {
  const asOf = new Date("2026-11-24T15:00:00Z");
  const at = (iso: string) => ({ fecha: iso, createdAt: iso });

  it("count what was paid, and what the POS left pending by its own methods, and nothing else", async () => {
    const tienda = await addStore(db.pool);
    for (const [statusPago, metodoPago, total] of [
      ["pagado", "tarjeta", 1],
      ["pendiente", "efectivo", 10],
      ["pendiente", "tarjeta", 100],
      ["pendiente", "tarjeta_credito", 100_000],
      ["pendiente", "transferencia", 200_000],
      ["anulado", "efectivo", 1000],
      ["reembolsado", "efectivo", 10_000],
    ] as const) {
      await addSale(db.pool, tienda, {
        ...at("2026-11-24T10:00:00Z"),
        total,
        statusPago,
        metodoPago,
      });
    }
    const [summary] = await report(db.pool, "sales_summary", tienda, null, null, asOf);
    const { total, tickets, pending, today } = summary;
    assert.deepEqual([total, tickets, pending], [300_011, 4, 300_000]);
    assert.deepEqual([today.total, today.pending], [300_011, 300_000]);
  });

  it("leave out rows that cannot be right, and say how many", async () => {
    const tienda = await addStore(db.pool);
    const productoId = await addProduct(db.pool, tienda);
    const lines = [{ productoId, cantidad: 1, precio: 5 }];
    await addSale(db.pool, tienda, { ...at("2026-11-23T10:00:00Z"), lines });
    for (const total of ["NaN", "Infinity", "-Infinity", 1e11]) {
      await addSale(db.pool, tienda, { ...at("2026-11-23T11:00:00Z"), total, lines });
    }
    // Written on the 22nd, dated next year.
    await addSale(db.pool, tienda, {
      fecha: "2027-11-24T10:00:00Z",
      createdAt: "2026-11-22T10:00:00Z",
      total: 50,
      lines,
    });
    await addSale(db.pool, tienda, {
      ...at("2026-11-23T12:00:00Z"),
      total: 7,
      lines: [
        { productoId, cantidad: Number.NaN, precio: 1 },
        { productoId, cantidad: 1, precio: Number.POSITIVE_INFINITY },
      ],
    });
    const [summary] = await report(db.pool, "sales_summary", tienda, null, null, asOf);
    assert.deepEqual([summary.total, summary.tickets, summary.unusable_rows], [12, 2, 5]);
    const [days] = await report(db.pool, "sales_by_day", tienda, "2026-11-22", "2026-11-23", asOf);
    assert.deepEqual(
      days.map(({ total, tickets, unusable_rows }: Record<string, number>) => [
        total,
        tickets,
        unusable_rows,
      ]),
      [
        [0, 0, 1],
        [12, 2, 4],
      ],
    );
    const [product] = await report(db.pool, "top_productos", tienda, null, null, "UNITS", asOf);
    assert.deepEqual([product.units, product.revenue, product.tickets], [1, 5, 1]);
  });

  it("do not show the name of another store's product, whatever a line says", async () => {
    const tienda = await addStore(db.pool);
    const productoId = await addProduct(db.pool, await addStore(db.pool));
    await addSale(db.pool, tienda, {
      ...at("2026-11-23T10:00:00Z"),
      lines: [{ productoId, cantidad: 1, precio: 5 }],
    });
    assert.deepEqual(await report(db.pool, "top_productos", tienda, null, null, "UNITS", asOf), []);
    const [summary] = await report(db.pool, "sales_summary", tienda, null, null, asOf);
    assert.deepEqual([summary.total, summary.best_seller], [5, null]);
  });

  it("have no cost where the POS has none", async () => {
    const tienda = await addStore(db.pool);
    const productoId = await addProduct(db.pool, tienda, { precioCosto: "NaN" });
    await addSale(db.pool, tienda, {
      ...at("2026-11-23T10:00:00Z"),
      lines: [{ productoId, cantidad: 2, precio: 5 }],
    });
    const [earned] = await report(db.pool, "profitability", tienda, null, null, "MARGIN", asOf);
    assert.deepEqual(
      [earned.revenue, earned.cost, earned.gross_profit, earned.margin_percent],
      [10, null, null, null],
    );
  });

  it("end at their time: what comes later is not known yet", async () => {
    const tienda = await addStore(db.pool);
    await addSale(db.pool, tienda, { ...at("2026-11-24T14:59:59Z"), total: 1 });
    await addSale(db.pool, tienda, { ...at("2026-11-24T15:00:00Z"), total: 10 });
    const [summary] = await report(db.pool, "sales_summary", tienda, null, "2026-12-24", asOf);
    const [days] = await report(db.pool, "sales_by_day", tienda, "2026-11-24", "2026-12-24", asOf);
    assert.deepEqual(
      [summary.total, summary.today.total, days[0].total, days.length],
      [0, 1, 1, 31],
    );
  });

  for (const [name, desde, hasta, column] of [
    ["desde after hasta", "2026-11-02", "2026-11-01", "desde"],
    ["desde after the running day", "2026-11-25", null, "desde"],
    ["more than two years", "2024-11-22", "2026-11-24", "desde"],
    ["a date of no use", null, "infinity", "hasta"],
    ["a date long ago", "0044-03-15", "0044-03-15", "hasta"],
  ] as const) {
    it(`refuse ${name}`, async () => {
      const tienda = await addStore(db.pool);
      for (const args of [
        ["sales_by_day"],
        ["sales_by_hour"],
        ["sales_summary"],
        ["top_productos", "UNITS"],
        ["profitability", "UNITS"],
      ]) {
        const [report_ = "", ...order] = args;
        await assert.rejects(
          report(db.pool, report_, tienda, desde, hasta, ...order, asOf),
          { code: "NX001", column },
          report_,
        );
      }
    });
  }

  it("take two years to the day", async () => {
    const tienda = await addStore(db.pool);
    const [days] = await report(db.pool, "sales_by_day", tienda, "2024-11-23", "2026-11-24", asOf);
    assert.equal(days.length, 732);
  });
});

describe("the stock summary", () => {
  it("counts by the thresholds of the store and values what there is", async () => {
    const tienda = await addStore(db.pool, { settings: { low_stock_threshold: 5 } });
    for (const [stock, precioVenta, precioCosto, isActive] of [
      [6, 10.5, 7.25, true],
      [5, 1, 1, true],
      [0.4, 3, 2, true],
      [0, 9, 9, true],
      [-2, 9, 9, true],
      ["NaN", 9, 9, true],
      [1, "Infinity", 4, true],
      [100, 9, 9, false],
    ] as const) {
      await addProduct(db.pool, tienda, { stock, precioVenta, precioCosto, isActive });
    }
    assert.deepEqual(await report(db.pool, "stock_summary", tienda), [
      {
        active_productos: 7,
        low: 3,
        out_of_stock: 2,
        negative: 1,
        value_at_cost: 43.5 + 5 + 0.8 + 4,
        value_at_price: 63 + 5 + 1.2,
        unusable_rows: 2,
      },
    ]);
  });

  it("values each product to the cent, however large or crooked its numbers", async () => {
    const { rows } = await db.pool.query(
      `select s, a, nexus_engine.stock_value(nexus_engine.shown_quantity(s), a)::text as value, e.exact::bigint::text as exact
       from (
         select round((random() * 10 ^ (random() * 7) - 1)::numeric, n % 5)::double precision as s,
           round((random() * 10 ^ (random() * 8) - 1)::numeric, n % 4)::double precision as a
         from generate_series(1, 20000) n
         union all select s, a from unnest('{NaN,Infinity,-Infinity,-1,0,-0,0.005,0.5,999999999}'::float8[]) s,
           unnest('{NaN,Infinity,-Infinity,-1,0,-0.01,0.01,0.005,10.5,-10.5,9999999}'::float8[]) a
       ) v
       cross join lateral (
         select 100 * round(greatest(nexus_engine.quantity(s), 0) * case when nexus_engine.money(a) is not null then a::numeric end, 2) as exact
         where nexus_engine.quantity(s) is not null
       ) e
       where nexus_engine.stock_value(nexus_engine.shown_quantity(s), a) is distinct from e.exact::bigint
       union all
       select s, 1, nexus_engine.stock_value(nexus_engine.shown_quantity(s), 1)::text, null from unnest('{NaN,Infinity,1e9}'::float8[]) s
       where nexus_engine.stock_value(nexus_engine.shown_quantity(s), 1) is not null`,
    );
    assert.deepEqual(rows, []);
  });
});

describe("the reports in GraphQL", () => {
  let api: Api;
  before(async () => {
    api = await startApi(db);
  });
  after(() => api.close());

  it("are what SQL says, as JSON numbers", async () => {
    const { tienda } = await openShop(db.pool, {
      timeZone: "Asia/Kolkata",
      asOf: new Date(),
      days: 40,
      count: 40,
      seed: 5,
    });
    const user = await addUser(db.pool, tienda);
    await db.pool.query(
      `update public.productos set tipo = 'pesable', atributos = '{"unidad_medida": "lt"}' where tienda_id = $1`,
      [tienda],
    );
    const { data, errors } = await api.ask(
      user,
      `{ salesSummary { total tickets averageTicket bestSeller { units unidad } week { total previousTotal } }
         salesByDay { total } salesByHour { total }
         topProductos(orderBy: REVENUE, first: 2) { nombre revenue unidad }
         profitability { revenue cost grossProfit unidad }
         stockSummary { valueAtCost } }`,
    );
    assert.deepEqual(errors, []);
    const [summary] = await report(db.pool, "sales_summary", tienda, null, null, new Date());
    assert.equal(data.salesSummary.total, summary.total);
    assert.equal(data.salesSummary.bestSeller.units, summary.best_seller.units);
    assert.equal(data.salesSummary.week.previousTotal, summary.week.previous_total);
    const total = (rows: { total: number }[]) => sum(rows.map((row) => cents(row.total))) / 100;
    assert.equal(total(data.salesByDay), summary.total);
    assert.equal(total(data.salesByHour), summary.total);
    assert.equal(data.salesByDay.length, 30);
    assert.equal(data.topProductos.length, 2);
    for (const { unidad } of [
      data.salesSummary.bestSeller,
      ...data.topProductos,
      ...data.profitability,
    ]) {
      assert.equal(unidad, "lt");
    }
    assert.ok(data.topProductos[0].revenue >= data.topProductos[1].revenue);
    for (const { revenue, cost, grossProfit } of data.profitability) {
      assert.equal(cents(grossProfit), cents(revenue) - cents(cost));
    }
  });

  it("refuse dates with the name of the argument, and leave the rest of the request alone", async () => {
    const user = await addUser(db.pool, await addStore(db.pool));
    const answer = await api.ask(
      user,
      `{ salesSummary(desde: "2026-11-02", hasta: "2026-11-01") { total } stockSummary { low } }`,
    );
    assert.deepEqual(
      answer.errors.map(({ path, extensions }) => [path, extensions]),
      [[["salesSummary"], { code: "BAD_USER_INPUT", field: "desde" }]],
    );
    assert.deepEqual(answer.data, { salesSummary: null, stockSummary: { low: 0 } });
    assert.equal(
      (await api.ask(user, `{ salesByDay(desde: "2026-02-30") { day } }`)).code,
      "BAD_USER_INPUT",
    );
  });
});
