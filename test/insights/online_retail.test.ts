import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Pool } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { type ReconcileRow, reconcile } from "../support/fixtures.ts";
import {
  loadOnlineRetail,
  type OnlineRetail,
  readOnlineRetail,
  type Ticket,
  withoutOnlineRetail,
} from "../support/online_retail.ts";

type Sum = { cents: number; tickets: number };
type Shown = { created_at: Date; extra: Record<string, unknown>; total: string; tickets: string };
/** What the summary of a day said when it was first told. */
type FirstTelling = { mensaje: string; extra: Record<string, unknown> };

const firstDay = "2010-12-01";
// The Monday on which the last week is told: of the whole year (npm run test:properties), or of its first four months.
const lastDay = process.env["WHOLE_YEAR"] ? "2011-12-12" : "2011-04-11";

/** The date so many days after another. */
function addDays(date: string, days: number): string {
  return new Date(Date.parse(`${date}T00:00Z`) + days * 86_400_000).toISOString().slice(0, 10);
}

/** The instant of a wall time in London. The clocks went forward on 27/3/2011 and back on 30/10. */
function london(date: string, time: string): Date {
  const summer = date >= "2011-03-27" && date < "2011-10-30";
  return new Date(`${date}T${time}:00${summer ? "+01:00" : "Z"}`);
}

function endOf(date: string): string {
  return `${london(date, "00:00").toISOString().slice(0, 19)}Z`;
}

/** A day of the shop is one of its calendar. No SQL of ours. */
function businessDay({ at }: Ticket): string {
  return at.slice(0, 10);
}

/** Whether it was sold before the day is told for the first time. */
function isEarly({ at }: Ticket): boolean {
  return at.slice(11) < "20:00";
}

function mondayOf(date: string): string {
  return addDays(date, -((new Date(`${date}T00:00Z`).getUTCDay() + 6) % 7));
}

/** Tickets that are not cancellations by what `keyOf` says, in whole cents a ticket. */
function sumBy(tickets: Ticket[], keyOf: (ticket: Ticket) => string): Map<string, Sum> {
  const sums = new Map<string, Sum>();
  for (const ticket of tickets) {
    if (ticket.cancelled) continue;
    const key = keyOf(ticket);
    const sum = sums.get(key) ?? { cents: 0, tickets: 0 };
    sum.cents += Math.sign(ticket.thousandths) * Math.round(Math.abs(ticket.thousandths) / 10);
    sum.tickets += 1;
    sums.set(key, sum);
  }
  return new Map([...sums].sort(([a], [b]) => a.localeCompare(b)));
}

function decimals(cents: number): string {
  const digits = String(Math.abs(cents)).padStart(3, "0");
  return `${cents < 0 ? "-" : ""}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

// 2,102 invoices come to nothing (corrections of stock at price 0) and two are negative (written-off
// debts). They stay tickets: the POS would mark them pagado, and money given back was not earned.
describe("real tickets, replayed day by day", { skip: withoutOnlineRetail }, () => {
  let db: TestDatabase;
  let worker: Pool;
  let data: OnlineRetail;
  let store: string;
  let days: Map<string, Sum>;
  /** What the days had sold until 20:00. */
  let early: Map<string, Sum>;
  let weeks: Map<string, Sum>;
  const firstTold = new Map<string, FirstTelling>();
  const told: { asOf: Date; result: ReconcileRow[] }[] = [];

  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker", 1);
    data = await readOnlineRetail(lastDay);
    store = await loadOnlineRetail(db.pool, data);
    days = sumBy(data.tickets, businessDay);
    early = sumBy(data.tickets.filter(isEarly), businessDay);
    weeks = sumBy(data.tickets, (ticket) => mondayOf(businessDay(ticket)));
    for (let date = firstDay; date <= lastDay; date = addDays(date, 1)) {
      const times = mondayOf(date) === date ? ["00:01", "09:01", "20:01"] : ["00:01", "20:01"];
      for (const time of times) {
        const asOf = london(date, time);
        told.push({ asOf, result: await reconcile(worker, [store], asOf) });
      }
      const { rows } = await db.pool.query<FirstTelling>(
        `select mensaje, extra_data as extra from public.insights
         where tienda_id = $1 and tipo = 'VENTAS_DIARIAS' and is_active and extra_data ->> 'fecha' = $2`,
        [store, date],
      );
      for (const row of rows) firstTold.set(date, row);
    }
  });
  after(() => db?.drop());

  const shown = async (tipo: string): Promise<Shown[]> => {
    const { rows } = await db.pool.query<Shown>(
      `select created_at, extra_data as extra, extra_data ->> 'total_vendido' as total,
         extra_data ->> 'cantidad_ventas' as tickets
       from public.insights where tienda_id = $1 and tipo = $2 order by created_at`,
      [store, tipo],
    );
    return rows;
  };
  const expectedRow = (key: string, at: Date, sum: Sum) => [
    key,
    at.toISOString(),
    decimals(sum.cents),
    String(sum.tickets),
  ];

  it("tells each day at 20:00 with what was sold until then, to the cent", () => {
    assert.deepEqual(
      [...firstTold].map(([day, { extra }]) => [
        day,
        extra.vendido_hasta,
        extra.dia_completo,
        extra.total_vendido,
        extra.cantidad_ventas,
      ]),
      [...early].map(([day, sum]) => [
        day,
        `${london(day, "20:00").toISOString().slice(0, 19)}Z`,
        false,
        sum.cents / 100,
        sum.tickets,
      ]),
    );
    for (const { mensaje } of firstTold.values()) {
      assert.match(mensaje, /^\S+ El \S+ \d\d\/\d\d hasta las 20:00 vendiste \$ /);
    }
  });

  it("completes each calendar day in place, with its total to the cent", async () => {
    const rows = await shown("VENTAS_DIARIAS");
    assert.deepEqual(
      rows.map(({ created_at, extra, total, tickets }) => [
        extra.fecha,
        created_at.toISOString(),
        total,
        tickets,
      ]),
      [...days].map(([day, sum]) => expectedRow(day, london(day, "20:01"), sum)),
    );
    assert.ok(rows.every(({ extra }) => extra.filas_excluidas === 0 && extra.dia_completo));
  });

  it("compares a day, whole or until 20:00, with the same weekday of the four weeks before that had sales", async () => {
    const completed = (await shown("VENTAS_DIARIAS")).map(({ extra }) => ({ extra, sums: days }));
    const first = [...firstTold.values()].map(({ extra }) => ({ extra, sums: early }));
    for (const { extra, sums } of [...completed, ...first]) {
      const before = [7, 14, 21, 28]
        .map((back) => sums.get(addDays(String(extra.fecha), -back))?.cents ?? 0)
        .filter((cents) => cents > 0);
      const sum = before.reduce((a, b) => a + b, 0);
      assert.equal(extra.semanas_comparadas, before.length);
      assert.equal(
        extra.promedio_mismo_dia,
        before.length === 0 ? null : Math.round(sum / before.length) / 100,
        String(extra.fecha),
      );
    }
  });

  it("has each ticket in exactly one day and one week", async (t) => {
    const sold = data.tickets.filter(({ cancelled }) => !cancelled);
    const [all] = sumBy(data.tickets, () => "all").values();
    for (const [tipo, periods] of [
      ["VENTAS_DIARIAS", days],
      ["VENTAS_SEMANALES", weeks],
    ] as const) {
      const { rows } = await db.pool.query<{ total: string; tickets: string; periods: string }>(
        `select sum((extra_data ->> 'total_vendido')::numeric) as total,
           sum((extra_data ->> 'cantidad_ventas')::int) as tickets, count(*) as periods
         from public.insights where tienda_id = $1 and tipo = $2`,
        [store, tipo],
      );
      assert.deepEqual(rows, [
        {
          total: decimals(all?.cents ?? 0),
          tickets: String(sold.length),
          periods: String(periods.size),
        },
      ]);
    }
    for (const tipo of ["VENTAS_DIARIAS", "VENTAS_SEMANALES"]) {
      const spans = (await shown(tipo)).map(({ extra }) => [
        Date.parse(String(extra.fecha_desde)),
        Date.parse(String(extra.fecha_hasta)),
      ]);
      const wrong = sold.filter(({ at }) => {
        const instant = london(at.slice(0, 10), at.slice(11)).getTime();
        return spans.filter(([from = 0, to = 0]) => from <= instant && instant < to).length !== 1;
      });
      assert.deepEqual(wrong, [], `${tipo}: tickets in none or in two`);
    }
    const [until20] = sumBy(data.tickets.filter(isEarly), () => "all").values();
    t.diagnostic(
      `${data.lines.length} lines, ${data.tickets.length} invoices (${data.tickets.length - sold.length} cancelled); ` +
        `${days.size} days, ${weeks.size} weeks, ${sold.length} tickets, ${decimals(all?.cents ?? 0)} in all, ` +
        `${until20?.tickets} tickets and ${decimals(until20?.cents ?? 0)} of them before 20:00`,
    );
  });

  it("tells each week once, on the Monday after it, beside the week before", async () => {
    const rows = await shown("VENTAS_SEMANALES");
    assert.deepEqual(
      rows.map(({ created_at, extra, total, tickets }) => [
        extra.semana_desde,
        created_at.toISOString(),
        total,
        tickets,
      ]),
      [...weeks].map(([monday, sum]) =>
        expectedRow(monday, london(addDays(monday, 7), "09:01"), sum),
      ),
    );
    for (const { extra } of rows) {
      const monday = String(extra.semana_desde);
      assert.equal(extra.semana_hasta, addDays(monday, 6));
      const before = weeks.get(addDays(monday, -7)) ?? { cents: 0, tickets: 0 };
      const shownBefore = extra.semana_anterior as Record<string, unknown>;
      assert.equal(shownBefore.total_vendido, before.cents / 100);
      assert.equal(shownBefore.cantidad_ventas, before.tickets);
    }
  });

  it("has a day of 23 and one of 25 hours where the clocks change, and sales on both", async () => {
    const rows = await shown("VENTAS_DIARIAS");
    const hoursOf = (day: string) => {
      const extra = rows.find((row) => row.extra.fecha === day)?.extra;
      return (
        (Date.parse(String(extra?.fecha_hasta)) - Date.parse(String(extra?.fecha_desde))) /
        3_600_000
      );
    };
    const hours = {
      "2011-03-25": 24,
      "2011-03-27": 23,
      "2011-03-28": 24,
      "2011-10-28": 24,
      "2011-10-30": 25,
      "2011-10-31": 24,
    };
    for (const [day, expected] of Object.entries(hours)) {
      if (day < lastDay) assert.equal(hoursOf(day), expected, day);
    }
  });

  it("wrote nothing on the days when the shop was shut, and the stock alerts only once", async () => {
    const written = (tipo: string) =>
      told.map(({ result }) => {
        const row = result.find((r) => r.tipo === tipo);
        return (row?.inserted ?? 0) + (row?.updated ?? 0);
      });
    const inserted = (tipo: string) =>
      told.map(({ result }) => result.find((r) => r.tipo === tipo)?.inserted ?? 0);
    const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0);
    assert.equal(sum(inserted("VENTAS_DIARIAS")), days.size);
    assert.equal(sum(written("VENTAS_DIARIAS")), days.size + early.size, "each completed once");
    assert.equal(sum(written("VENTAS_SEMANALES")), weeks.size);
    const low = written("STOCK_BAJO");
    assert.equal(Math.max(...low), Math.floor(data.products.length / 20));
    assert.equal(sum(low), Math.max(...low));
    assert.ok(told.every(({ result }) => result.every(({ failed }) => failed === 0)));
    const again = await reconcile(worker, [store], told.at(-1)?.asOf ?? new Date());
    assert.ok(again.every((r) => r.inserted + r.updated + r.archived === 0));
  });

  it("leaves only the newest day and week active", async () => {
    const { rows } = await db.pool.query(
      `select tipo, count(*)::int as n, max(extra_data ->> 'fecha_hasta') as until
       from public.insights where tienda_id = $1 and is_active and tipo like 'VENTAS%' group by tipo order by tipo`,
      [store],
    );
    assert.deepEqual(rows, [
      { tipo: "VENTAS_DIARIAS", n: 1, until: endOf(addDays([...days.keys()].at(-1) ?? "", 1)) },
      { tipo: "VENTAS_SEMANALES", n: 1, until: endOf(lastDay) },
    ]);
  });
});
