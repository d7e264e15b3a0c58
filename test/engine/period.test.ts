import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addStore } from "../support/fixtures.ts";

const day = 24 * 3_600_000;

describe("business days", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  it("follow each other without hole or overlap through a year of clock changes", async () => {
    const { rows } = await db.pool.query(`
      with setting as (
        select z as time_zone, s as day_starts_at
        from unnest(array['America/Argentina/Buenos_Aires', 'Europe/London', 'America/St_Johns',
          'America/Santiago', 'Australia/Lord_Howe', 'Pacific/Chatham', 'Asia/Kolkata', 'America/Asuncion']) z,
          unnest(array['00:00', '01:30', '02:15', '06:00', '23:59']::time[]) s
      ),
      day as (
        select time_zone, day_starts_at, d::date as day,
          nexus_engine.local_instant(d::date, day_starts_at, time_zone) as starts_at,
          nexus_engine.local_instant(d::date + 1, day_starts_at, time_zone) as ends_at
        from setting, generate_series(timestamp '2026-01-01', timestamp '2027-01-01', '1 day') d
      )
      select time_zone, day_starts_at, count(*)::int as days,
        bool_and(starts_at < ends_at) as advances,
        -- What the engine finds at the first and last instants of each day.
        bool_and(nexus_engine.latest_local_day(day_starts_at, time_zone, starts_at) = day) as begins_on_time,
        bool_and(nexus_engine.latest_local_day(day_starts_at, time_zone, ends_at - interval '1 microsecond') = day) as not_after
      from day group by 1, 2`);
    assert.equal(rows.length, 40);
    for (const row of rows) {
      assert.deepEqual(
        [row.days, row.advances, row.begins_on_time, row.not_after],
        [366, true, true, true],
        `${row.time_zone} ${row.day_starts_at}`,
      );
    }
  });
});

describe("summaries", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  const announcedAt = async (store: string, period: string, subject: string) => {
    const { rows } = await db.pool.query(
      `select announced_at as at
       from nexus_engine.store_periods($1, array[$2::uuid], $3::date + interval '12 days', array(select generate_series(0, 13)))
       where subject = $3::date::text`,
      [period, store, subject],
    );
    return rows[0]?.at;
  };

  it("of a day are told at the first summary time after it begins, at its end if there is none", async () => {
    const buenosAires = "America/Argentina/Buenos_Aires";
    for (const [day, startsAt, summary, zone, expected] of [
      ["2026-11-24", "00:00", "20:00", buenosAires, "2026-11-24T23:00:00Z"],
      ["2026-11-24", "00:00", "00:00:01", buenosAires, "2026-11-24T03:00:01Z"],
      ["2026-11-24", "00:00", "23:59:59", buenosAires, "2026-11-25T02:59:59Z"],
      ["2026-11-24", "00:00", "00:00", buenosAires, "2026-11-25T03:00:00Z"],
      // A bar's day of 24/11 ends on 25/11 at 06:00.
      ["2026-11-24", "06:00", "20:00", buenosAires, "2026-11-24T23:00:00Z"],
      ["2026-11-24", "06:00", "06:00:01", buenosAires, "2026-11-24T09:00:01Z"],
      ["2026-11-24", "06:00", "00:00", buenosAires, "2026-11-25T03:00:00Z"],
      ["2026-11-24", "06:00", "02:00", buenosAires, "2026-11-25T05:00:00Z"],
      ["2026-11-24", "06:00", "05:59:59", buenosAires, "2026-11-25T08:59:59Z"],
      ["2026-11-24", "06:00", "06:00", buenosAires, "2026-11-25T09:00:00Z"],
      // At 00:00 of 6/9 its clocks go forward to 01:00, which is 04:00Z: no 00:30 on that date, and 01:00 is its start.
      ["2026-09-06", "00:00", "00:30", "America/Santiago", "2026-09-06T04:30:00Z"],
      ["2026-09-06", "00:00", "01:00", "America/Santiago", "2026-09-07T03:00:00Z"],
      ["2026-09-05", "00:00", "23:59", "America/Santiago", "2026-09-06T03:59:00Z"],
    ] as const) {
      const store = await addStore(db.pool, {
        settings: { day_starts_at: startsAt, summary_time: summary, time_zone: zone },
      });
      assert.deepEqual(
        await announcedAt(store, "day", day),
        new Date(expected),
        `${day} ${startsAt} ${summary} ${zone}`,
      );
    }
  });

  it("of a week are told at their time, but not before its last day has ended", async () => {
    for (const [startsAt, summary, expected] of [
      ["00:00", "09:00", "2026-11-23T12:00:00Z"],
      ["00:00", "00:00", "2026-11-23T03:00:00Z"],
      ["06:00", "09:00", "2026-11-23T12:00:00Z"],
      ["06:00", "06:00", "2026-11-23T09:00:00Z"],
      ["06:00", "02:00", "2026-11-23T09:00:00Z"],
    ] as const) {
      const store = await addStore(db.pool, {
        settings: { day_starts_at: startsAt, weekly_summary_time: summary },
      });
      assert.deepEqual(
        await announcedAt(store, "week", "2026-11-16"),
        new Date(expected),
        `${startsAt} ${summary}`,
      );
    }
  });

  /** Settings, period, as of; its subject, start, end and announcement, all in November 2026 and UTC. */
  const wholeDay = { summary_time: "20:00" };
  const bar = { day_starts_at: "06:00", summary_time: "02:00", weekly_summary_time: "02:00" };
  const atTheEnd = { day_starts_at: "06:00", summary_time: "06:00" };
  for (const [what, settings, period, asOf, expected] of [
    ["a day", wholeDay, "day", "24T22:59:59", ["23", "23T03:00", "24T03:00", "23T23:00"]],
    ["a day", wholeDay, "day", "24T23:00:00", ["24", "24T03:00", "25T03:00", "24T23:00"]],
    ["a day", wholeDay, "day", "25T03:00:00", ["24", "24T03:00", "25T03:00", "24T23:00"]],
    ["a bar's day", bar, "day", "25T04:59:59", ["23", "23T09:00", "24T09:00", "24T05:00"]],
    ["a bar's day", bar, "day", "25T05:00:00", ["24", "24T09:00", "25T09:00", "25T05:00"]],
    ["a bar's day", bar, "day", "25T09:00:00", ["24", "24T09:00", "25T09:00", "25T05:00"]],
    [
      "a day at its end",
      atTheEnd,
      "day",
      "25T08:59:59",
      ["23", "23T09:00", "24T09:00", "24T09:00"],
    ],
    [
      "a day at its end",
      atTheEnd,
      "day",
      "25T09:00:00",
      ["24", "24T09:00", "25T09:00", "25T09:00"],
    ],
    ["a week", wholeDay, "week", "23T11:59:59", ["09", "09T03:00", "16T03:00", "16T12:00"]],
    ["a week", wholeDay, "week", "23T12:00:00", ["16", "16T03:00", "23T03:00", "23T12:00"]],
    ["a bar's week", bar, "week", "23T08:59:59", ["09", "09T09:00", "16T09:00", "16T09:00"]],
    ["a bar's week", bar, "week", "23T09:00:00", ["16", "16T09:00", "23T09:00", "23T09:00"]],
  ] as const) {
    it(`are of ${what} as of ${asOf}, and of the one before`, async () => {
      const store = await addStore(db.pool, { settings });
      const instant = (text: string) => new Date(`2026-11-${text.padEnd(11, ":00")}Z`).getTime();
      const { rows } = await db.pool.query(
        `select back, subject, first_day::text, last_day::text, starts_at, ends_at, announced_at
         from nexus_engine.store_periods($1, array[$2::uuid], $3, array[0, 1]) order by back`,
        [period, store, new Date(instant(asOf))],
      );
      const [dayOfMonth = "", ...times] = expected;
      const length = period === "day" ? 1 : 7;
      const date = (at: number) => new Date(at).toISOString().slice(0, 10);
      assert.deepEqual(
        rows,
        [0, 1].map((back) => {
          const first = Date.parse(`2026-11-${dayOfMonth}`) - back * length * day;
          const [starts_at, ends_at, announced_at] = times.map(
            (time) => new Date(instant(time) - back * length * day),
          );
          return {
            back,
            subject: date(first),
            first_day: date(first),
            last_day: date(first + (length - 1) * day),
            starts_at,
            ends_at,
            announced_at,
          };
        }),
      );
    });
  }
});

describe("a day that a zone skipped", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  it("is empty, and its neighbours meet", async () => {
    const { rows } = await db.pool.query(`
      select to_char(nexus_engine.latest_local_day('20:00', 'Pacific/Apia', at), 'YYYY-MM-DD') as day
      from unnest(array['2011-12-30T05:59:59Z', '2011-12-30T06:00:00Z', '2011-12-31T05:59:59Z', '2011-12-31T06:00:00Z']::timestamptz[]) at`);
    assert.deepEqual(
      rows.map(({ day }) => day),
      ["2011-12-28", "2011-12-29", "2011-12-29", "2011-12-31"],
    );
  });
});
