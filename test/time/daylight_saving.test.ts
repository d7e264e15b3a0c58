import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { PoolClient } from "pg";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addStore } from "../support/fixtures.ts";
import { addDays, clockChanges, day, hour, instantOf, wallOf, wallTime } from "./local_clock.ts";
import {
  announcedAt,
  dayStarts,
  line,
  middlesOf,
  periodsOf,
  type Store,
  startOf,
  summaryOf,
  type Times,
  tellingsOf,
  ticksBetween,
  timesOf,
  weekdayOfChange,
  zones,
} from "./year.ts";

describe("business days while the clocks change", () => {
  let db: TestDatabase;
  let client: PoolClient;
  before(async () => {
    db = await createTestDatabase();
    client = await db.pool.connect();
    // What the two schedules do, and then the batches that they enqueue. With `claims` a batch only
    // claims its periods, as the reconciler does, and composes no message: a year of them takes a minute.
    await client.query(`
      create temp table telling (tienda_id uuid, tipo text, subject text, at timestamptz);
      create function pg_temp.tick(at timestamptz, claims boolean) returns int language plpgsql as $$
      declare
        stores int := 0;
        job record;
      begin
        perform nexus_engine.dispatch('generate_sales_summary', array['VENTAS_DIARIAS'], at, 100);
        perform nexus_engine.dispatch('generate_weekly_sales_summary', array['VENTAS_SEMANALES'], at, 100);
        for job in
          with taken as (delete from graphile_worker._private_jobs returning payload)
          select array(select json_array_elements_text(payload -> 'tipos')) as tipos,
            array(select json_array_elements_text(payload -> 'tiendas'))::uuid[] as tiendas
          from taken
        loop
          stores := stores + cardinality(job.tiendas);
          if claims then
            with due as (
              insert into nexus_engine.open_insight (tienda_id, tipo, subject, insight_id, since, look_again_at)
              select d.tienda_id, job.tipos[1], d.subject, gen_random_uuid(), at, d.look_again_at
              from nexus_engine.due_periods_v2(job.tipos[1], job.tiendas, at) d
              on conflict (tienda_id, tipo, subject) do update set look_again_at = excluded.look_again_at
              returning tienda_id, tipo, subject
            )
            insert into telling select d.tienda_id, d.tipo, d.subject, at from due d;
          else
            perform nexus_engine.reconcile(job.tipos, job.tiendas, at);
          end if;
        end loop;
        return stores;
      end $$`);
  });
  after(async () => {
    client.release();
    await db.drop();
  });
  const closeStores = () =>
    client.query(
      "truncate public.tiendas cascade; truncate nexus_engine.open_insight, nexus_engine.store_settings, telling",
    );

  /** Runs these ticks; returns how many times a store was enqueued. */
  async function tick(ticks: number[], claims: boolean): Promise<number> {
    let enqueued = 0;
    for (let n = 0; n < ticks.length; n += 50) {
      // As autovacuum does while rows are added; a plan made for an empty table reads all of it.
      await client.query("analyze nexus_engine.open_insight");
      const { rows } = await client.query(
        "select sum(pg_temp.tick(to_timestamp(ms / 1000), $2))::int as stores from unnest($1::float8[]) ms",
        [ticks.slice(n, n + 50), claims],
      );
      enqueued += rows[0].stores;
    }
    return enqueued;
  }

  async function openStore(zone: string, times: Times, weekday: number): Promise<Store> {
    const id = await addStore(db.pool, {
      settings: {
        time_zone: zone,
        day_starts_at: times.dayStartsAt,
        summary_time: times.summaryTime,
        weekly_summary_time: times.summaryTime,
        weekly_summary_dow: weekday,
      },
    });
    return { id, zone, ...times, weekday, sales: [] };
  }

  it("are what Intl says, one after the other without hole or overlap, at every start that a change skips or repeats", async () => {
    let skipped = 0;
    let repeated = 0;
    for (const { zone, from, until, changes: expected } of zones) {
      const changes = clockChanges(zone, Date.parse(from), Date.parse(until));
      assert.equal(changes.length, expected, zone);
      const times = [...new Set([...dayStarts, "20:00:00", ...middlesOf(changes)])];
      const dates = Array.from({ length: 366 }, (_, n) => addDays(from, n));
      const { rows } = await client.query(
        `select s.time, d.date::text as date, extract(epoch from e.starts) * 1000 as starts,
           nexus_engine.latest_local_day(s.time, $1, e.starts)::text as at_start,
           nexus_engine.latest_local_day(s.time, $1, e.starts - interval '1 microsecond')::text as before_start
         from unnest($2::time[]) s (time) cross join unnest($3::date[]) d (date)
         cross join lateral nexus_engine.local_instant(d.date, s.time, $1) e (starts)
         order by 1, 2`,
        [zone, times, dates],
      );
      assert.equal(rows.length, times.length * 366);
      let last = 0;
      for (const row of rows) {
        const what = `${zone} ${row.date} ${row.time}`;
        const starts = Number(row.starts);
        const wall = wallOf(row.date, row.time);
        assert.equal(starts, instantOf(zone, wall), what);
        assert.deepEqual([row.at_start, row.before_start], [row.date, addDays(row.date, -1)], what);
        if (row.date !== from) assert.ok(starts > last && starts - last <= 25 * hour, what);
        last = starts;
        if (wallTime(zone, starts) !== wall) skipped += 1;
        if (changes.some((c) => starts >= c.at && starts < c.at + c.wallBefore - c.wallAfter)) {
          repeated += 1;
        }
      }
    }
    // Else nothing was tried.
    assert.ok(skipped >= 7 && repeated >= 7, `${skipped} skipped, ${repeated} repeated`);
  });

  it("are each enqueued when they are told and completed, and each week, when ticks run through the year", async () => {
    for (const year of new Set(zones.map(({ from }) => from))) {
      const stores: Store[] = [];
      const ofYear = zones.filter(({ from }) => from === year);
      const from = Date.parse(year);
      const until = Math.min(...ofYear.map((zone) => Date.parse(zone.until)));
      const changes = ofYear.flatMap(({ zone }) => clockChanges(zone, from, until));
      for (const { zone } of ofYear) {
        const own = clockChanges(zone, from, until);
        for (const times of timesOf(own)) {
          stores.push(await openStore(zone, times, weekdayOfChange(own)));
        }
      }
      await client.query("analyze public.tiendas, nexus_engine.store_settings");
      // Ticks come at all times of day.
      const ticks = ticksBetween(from, until, 58 * hour, changes);
      const enqueued = await tick(ticks, true);
      const { rows } = await client.query(
        "select concat_ws(' ', tienda_id, tipo, subject, extract(epoch from at)::bigint) as telling from telling order by 1",
      );
      const expected = stores.flatMap((store) => periodsOf(store, ticks));
      assert.ok(expected.length > stores.length * 400, `${expected.length} periods`);
      const tellings = expected.flatMap(({ store, tipo, first, ...period }) =>
        tellingsOf({ store, tipo, first, ...period }, ticks).map((at) => ({
          telling: `${store} ${tipo} ${first} ${at / 1000}`,
          batch: `${store} ${tipo} ${at}`,
        })),
      );
      assert.deepEqual(
        rows.map(({ telling }) => telling),
        tellings.map(({ telling }) => telling).sort(),
      );
      const batches = new Set(tellings.map(({ batch }) => batch));
      assert.equal(enqueued, batches.size, "a tick enqueued a store that had nothing to tell");
      await closeStores();
    }
  });

  it("are told with the sales of their own, each sale in one day and one week", async () => {
    let unfinished = 0;
    for (const { zone, from, until } of zones) {
      const changes = clockChanges(zone, Date.parse(from), Date.parse(until));
      for (const change of changes) {
        const weekday = weekdayOfChange([change]);
        const [first, last] = [change.at - day, change.at + 1.5 * day];
        const ticks = ticksBetween(first, last, 7 * hour, []);
        const stores: Store[] = [];
        for (const times of timesOf(changes)) {
          const store = await openStore(zone, times, weekday);
          stores.push(store);
          await sell(store, first - 17 * day, last, change.at);
        }
        // Nothing is rolled up, so nobody needs the marks of old sales.
        await client.query(
          "truncate nexus_engine.sale_mark; analyze public.ventas, public.tiendas, nexus_engine.store_settings",
        );
        const expectedAfter = (some: number[]) =>
          stores.flatMap((store) =>
            periodsOf(store, some).map((period) => summaryOf(store, period, some)),
          );
        // In the evening before the change.
        const some = ticks.slice(0, 4);
        await tick(some, false);
        const early = expectedAfter(some);
        unfinished += early.filter(({ soldUntil, until }) => soldUntil < until).length;
        assert.deepEqual(await told(stores), early.map(line).sort(), zone);
        await tick(ticks.slice(4), false);
        const expected = expectedAfter(ticks);
        assert.deepEqual(await told(stores), expected.map(line).sort(), zone);
        for (const store of stores) {
          for (const tipo of ["VENTAS_DIARIAS", "VENTAS_SEMANALES"]) {
            const periods = expected.filter((p) => p.store === store.id && p.tipo === tipo);
            assert.ok(periods.length > 0);
            const start = Math.min(...periods.map((p) => p.from));
            const end = Math.max(...periods.map((p) => p.until));
            for (const { at } of store.sales.filter((sale) => sale.at >= start && sale.at < end)) {
              const containing = periods.filter((p) => at >= p.from && at < p.until).length;
              const what = `${zone} ${store.dayStartsAt} ${new Date(at).toISOString()}`;
              assert.equal(containing, 1, what);
            }
          }
        }
        await closeStores();
      }
    }
    assert.ok(unfinished > 20, `${unfinished} days were told before they ended`);
  });

  /** Sales in the first, the last and another moment of each day, around its summary, and around the change. */
  async function sell(store: Store, from: number, until: number, change: number): Promise<void> {
    const moments = [change - 1, change, change + hour / 4, change + hour];
    for (let date = new Date(from).toISOString().slice(0, 10); ; date = addDays(date, 1)) {
      const [starts, ends] = [startOf(store, date), startOf(store, addDays(date, 1))];
      if (starts > until) break;
      moments.push(starts, starts + ((moments.length * 7_919_000) % (ends - starts)), ends - 1);
      const announced = announcedAt(store, date);
      if (announced < ends) moments.push(announced - 1, announced);
    }
    store.sales = moments.map((at, n) => ({ at, cents: 100 + ((n * 104_729) % 999_983) }));
    await client.query(
      `insert into public.ventas (id, fecha, created_at, total, metodo_pago, status_pago, tienda_id)
       select gen_random_uuid(), to_timestamp(at / 1000), to_timestamp(at / 1000), cents / 100, 'efectivo', 'pagado', $1
       from unnest($2::numeric[], $3::float8[]) s (at, cents)`,
      [store.id, moments, store.sales.map(({ cents }) => cents)],
    );
  }

  /** The summaries that were written for these stores. */
  async function told(stores: Store[]): Promise<string[]> {
    const { rows } = await client.query(
      `select tienda_id as store, tipo, coalesce(extra_data ->> 'fecha', extra_data ->> 'semana_desde') as first,
         extra_data ->> 'fecha_desde' as "from", extra_data ->> 'fecha_hasta' as until,
         coalesce(extra_data ->> 'vendido_hasta', extra_data ->> 'fecha_hasta') as "soldUntil",
         (extra_data ->> 'total_vendido')::float8 as total, (extra_data ->> 'cantidad_ventas')::int as tickets
       from public.insights where tienda_id = any ($1)`,
      [stores.map(({ id }) => id)],
    );
    return rows
      .map((row) =>
        line({
          ...row,
          from: Date.parse(row.from),
          until: Date.parse(row.until),
          soldUntil: Date.parse(row.soldUntil),
          cents: Math.round(row.total * 100),
        }),
      )
      .sort();
  }
});
