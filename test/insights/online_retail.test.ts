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

const firstDay = "2010-12-01";
const lastDay = "2011-12-12"; // the Monday on which the last week is told

/** The date so many days after another. */
function addDays(date: string, days: number): string {
  return new Date(Date.parse(`${date}T00:00Z`) + days * 86_400_000).toISOString().slice(0, 10);
}

/** The instant of a wall time in London. The clocks went forward on 27/3/2011 and back on 30/10. */
function london(date: string, time: string): Date {
  const summer = date >= "2011-03-27" && date < "2011-10-30";
  return new Date(`${date}T${time}:00${summer ? "+01:00" : "Z"}`);
}

/** 13:45 belongs to its own date, 20:00 to the next: the summary is at 20:00. No SQL of ours. */
function businessDay({ at }: Ticket): string {
  const date = at.slice(0, 10);
  return at.slice(11) < "20:00" ? date : addDays(date, 1);
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
describe("a year of real tickets, replayed day by day", { skip: withoutOnlineRetail }, () => {
  let db: TestDatabase;
  let worker: Pool;
  let data: OnlineRetail;
  let store: string;
  let days: Map<string, Sum>;
  let weeks: Map<string, Sum>;
  const told: { asOf: Date; result: ReconcileRow[] }[] = [];

  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker", 1);
    data = await readOnlineRetail();
    store = await loadOnlineRetail(db.pool, data);
    days = sumBy(data.tickets, businessDay);
    weeks = sumBy(data.tickets, (ticket) => mondayOf(businessDay(ticket)));
    for (let date = firstDay; date <= lastDay; date = addDays(date, 1)) {
      const times = mondayOf(date) === date ? ["09:01", "20:01"] : ["20:01"];
      for (const time of times) {
        const asOf = london(date, time);
        told.push({ asOf, result: await reconcile(worker, [store], asOf) });
      }
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

  it("tells each business day once, in its own evening, with its total to the cent", async () => {
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
    assert.ok(rows.every(({ extra }) => extra.filas_excluidas === 0));
  });

  it("compares a day with the same weekday of the four weeks before that had sales", async () => {
    for (const { extra } of await shown("VENTAS_DIARIAS")) {
      const before = [7, 14, 21, 28]
        .map((back) => days.get(addDays(String(extra.fecha), -back))?.cents ?? 0)
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
    t.diagnostic(
      `${data.lines.length} lines, ${data.tickets.length} invoices (${data.tickets.length - sold.length} cancelled); ` +
        `${days.size} days, ${weeks.size} weeks, ${sold.length} tickets, ${decimals(all?.cents ?? 0)} in all`,
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
    assert.deepEqual(
      ["2011-03-25", "2011-03-27", "2011-03-28", "2011-10-28", "2011-10-30", "2011-10-31"].map(
        hoursOf,
      ),
      [24, 23, 24, 24, 25, 24],
    );
  });

  it("wrote nothing on the days when the shop was shut, and the stock alerts only once", async () => {
    const written = (tipo: string) =>
      told.map(({ result }) => {
        const row = result.find((r) => r.tipo === tipo);
        return (row?.inserted ?? 0) + (row?.updated ?? 0);
      });
    const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0);
    assert.equal(sum(written("VENTAS_DIARIAS")), days.size);
    assert.equal(sum(written("VENTAS_SEMANALES")), weeks.size);
    const low = written("STOCK_BAJO");
    assert.equal(low[0], Math.floor(data.products.length / 20));
    assert.equal(sum(low), low[0]);
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
      { tipo: "VENTAS_DIARIAS", n: 1, until: "2011-12-09T20:00:00Z" },
      { tipo: "VENTAS_SEMANALES", n: 1, until: "2011-12-11T20:00:00Z" },
    ]);
  });
});
