import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import {
  addDays,
  businessDay,
  cents,
  localTime,
  openShop,
  type Product,
  report,
  sum,
  type Ticket,
} from "./shop.ts";

let db: TestDatabase;
before(async () => {
  db = await createTestDatabase();
});
after(() => db.drop());

for (const [timeZone, dayStartsAt, asOf] of [
  ["America/Argentina/Buenos_Aires", "00:00:00", new Date("2026-11-24T15:45:10Z")],
  // Its clocks went forward on March 8.
  ["America/St_Johns", "20:00:00", new Date("2026-03-20T15:45:10Z")],
  // Its clocks go back on April 5, and it is 13:45 ahead of UTC.
  ["Pacific/Chatham", "06:00:00", new Date("2026-04-20T20:00:00Z")],
] as const) {
  describe(`the sales reports of a store in ${timeZone} whose day begins at ${dayStartsAt}`, () => {
    let tienda: string;
    let products: Product[];
    let tickets: (Ticket & { day: string; local: string })[];
    const today = businessDay(asOf, timeZone, dayStartsAt);
    const [desde, hasta] = [addDays(today, -39), addDays(today, -3)];
    const within = (from: string, to: string) =>
      tickets.filter(({ day }) => day >= from && day <= to);
    const totals = (some: Ticket[]) => ({
      total: sum(some.map((t) => t.cents)) / 100,
      tickets: some.length,
    });
    const pending = (some: Ticket[]) => sum(some.map((t) => t.pending)) / 100;

    before(async () => {
      const shop = await openShop(db.pool, {
        timeZone,
        dayStartsAt,
        asOf,
        days: 75,
        count: 150,
        seed: asOf.getTime(),
      });
      ({ tienda, products } = shop);
      tickets = shop.tickets.map((ticket) => ({
        ...ticket,
        day: businessDay(ticket.at, timeZone, dayStartsAt),
        local: localTime(ticket.at, timeZone),
      }));
    });

    it("put each ticket into one business day, and show days without sales", async () => {
      const [days] = await report(db.pool, "sales_by_day", tienda, desde, hasta, asOf);
      const expected = Array.from({ length: 37 }, (_, n) => {
        const day = addDays(desde, n);
        const { total, tickets } = totals(within(day, day));
        return {
          day,
          total,
          tickets,
          average_ticket: tickets ? Math.round(cents(total) / tickets) / 100 : null,
          unusable_rows: 0,
          pending: pending(within(day, day)),
        };
      });
      assert.deepEqual(days, expected);
      assert.ok(expected.some((day) => day.tickets === 0));
    });

    it("put each ticket into an hour of the store's clock", async () => {
      const [hours] = await report(db.pool, "sales_by_hour", tienda, desde, hasta, asOf);
      assert.deepEqual(
        hours.map(({ hour, total, tickets }: Record<string, number>) => ({ hour, total, tickets })),
        Array.from({ length: 24 }, (_, hour) => ({
          hour,
          ...totals(within(desde, hasta).filter((t) => Number(t.local.slice(11, 13)) === hour)),
        })),
      );
    });

    it("sum up the same days", async () => {
      const [summary] = await report(db.pool, "sales_summary", tienda, desde, hasta, asOf);
      const some = within(desde, hasta);
      const { desde: from, hasta: to, total, tickets, average_ticket, unusable_rows } = summary;
      assert.deepEqual(
        { from, to, total, tickets, average_ticket, unusable_rows, pending: summary.pending },
        {
          from: desde,
          to: hasta,
          ...totals(some),
          average_ticket: Math.round(sum(some.map((t) => t.cents)) / some.length) / 100,
          unusable_rows: 0,
          pending: pending(some),
        },
      );
      assert.ok(summary.pending > 0);
      const uses = (method: string) => some.filter((t) => t.method === method).length;
      const methods = ["efectivo", "mercadopago", "tarjeta_debito"].sort(
        (a, b) => uses(b) - uses(a),
      );
      assert.equal(summary.most_used_payment_method, methods[0]);
      assert.equal(summary.best_seller.nombre, byProduct(some)[0]?.nombre);
    });

    it("compare today, yesterday, week and month with as many days before, up to the same time", async () => {
      const [summary] = await report(db.pool, "sales_summary", tienda, null, null, asOf);
      assert.deepEqual([summary.desde, summary.hasta], [addDays(today, -29), today]);
      for (const [name, back, length] of [
        ["today", 0, 1],
        ["yesterday", 1, 1],
        ["week", 0, 7],
        ["month", 0, 30],
      ] as const) {
        const last = addDays(today, -back);
        const first = addDays(last, 1 - length);
        const now = localTime(asOf, timeZone);
        const sameTime = `${addDays(now.slice(0, 10), -length)} ${now.slice(11)}`;
        const current = totals(within(first, last));
        const previous = totals(
          within(addDays(first, -length), addDays(first, -1)).filter(
            (t) => back > 0 || t.local < sameTime,
          ),
        );
        const change = (now: number, before: number) =>
          before > 0 ? Math.round(((now - before) * 1000) / before) / 10 : null;
        const { total_change_percent, tickets_change_percent, ...shown } = summary[name];
        assert.deepEqual(
          shown,
          {
            desde: first,
            hasta: last,
            ...current,
            pending: pending(within(first, last)),
            previous_total: previous.total,
            previous_tickets: previous.tickets,
          },
          name,
        );
        assert.equal(
          total_change_percent,
          change(cents(current.total), cents(previous.total)),
          name,
        );
        assert.equal(tickets_change_percent, change(current.tickets, previous.tickets), name);
      }
    });

    it("tell which products sold most and what was earned with them", async () => {
      const expected = byProduct(within(desde, hasta));
      const top = await report(db.pool, "top_productos", tienda, desde, hasta, "UNITS", asOf);
      assert.deepEqual(
        top.map(({ nombre, units, revenue, tickets }) => ({ nombre, units, revenue, tickets })),
        expected.map(({ nombre, units, revenue, tickets }) => ({
          nombre,
          units,
          revenue,
          tickets,
        })),
      );
      const byRevenue = await report(
        db.pool,
        "top_productos",
        tienda,
        desde,
        hasta,
        "REVENUE",
        asOf,
      );
      assert.deepEqual(
        byRevenue.map((p) => p.revenue),
        expected.map((p) => p.revenue).sort((a, b) => b - a),
      );

      const earned = await report(db.pool, "profitability", tienda, desde, hasta, "PROFIT", asOf);
      assert.deepEqual(
        earned.map(({ nombre, cost, gross_profit }) => ({ nombre, cost, gross_profit })),
        expected
          .map(({ nombre, cost, profit }) => ({ nombre, cost, gross_profit: profit }))
          .sort((a, b) => b.gross_profit - a.gross_profit),
      );
      const margins = (
        await report(db.pool, "profitability", tienda, desde, hasta, "MARGIN", asOf)
      ).map((p) => p.margin_percent);
      assert.deepEqual(
        margins,
        margins.toSorted((a, b) => b - a),
      );
    });

    function byProduct(some: Ticket[]) {
      return products
        .map(({ nombre, cost }, product) => {
          const sold = some.filter((t) => t.lines.some((l) => l.product === product));
          const lines = sold.flatMap((t) => t.lines.filter((l) => l.product === product));
          const units = sum(lines.map((l) => Math.round(l.quantity * 1000))) / 1000;
          const revenue = sum(lines.map((l) => cents(l.quantity * l.price)));
          const spent = cents(units * cost);
          return {
            nombre,
            units,
            revenue: revenue / 100,
            tickets: sold.length,
            cost: spent / 100,
            profit: (revenue - spent) / 100,
          };
        })
        .sort((a, b) => b.units - a.units);
    }
  });
}
