import {
  addDays,
  type ClockChange,
  dateOf,
  day,
  hour,
  instantOf,
  timeOf,
  wallOf,
} from "./local_clock.ts";

/**
 * Zones and a year of each; the last two in the year in which their clocks changed for the last time.
 * In Santiago, São Paulo and Tehran the hour that is skipped begins at midnight.
 */
export const zones = [
  { zone: "America/Santiago", from: "2026-01-01", until: "2027-01-01", changes: 2 },
  { zone: "Australia/Lord_Howe", from: "2026-01-01", until: "2027-01-01", changes: 2 },
  { zone: "Pacific/Chatham", from: "2026-01-01", until: "2027-01-01", changes: 2 },
  { zone: "America/St_Johns", from: "2026-01-01", until: "2027-01-01", changes: 2 },
  { zone: "Europe/Madrid", from: "2026-01-01", until: "2027-01-01", changes: 2 },
  { zone: "America/Argentina/Buenos_Aires", from: "2026-01-01", until: "2027-01-01", changes: 0 },
  { zone: "America/Sao_Paulo", from: "2018-07-01", until: "2019-07-01", changes: 2 },
  { zone: "Asia/Tehran", from: "2022-01-01", until: "2023-01-01", changes: 2 },
];

/** When the days of a store begin, and when they and its weeks are told. */
export type Times = { dayStartsAt: string; summaryTime: string };

export type Store = Times & {
  id: string;
  zone: string;
  /** On which its weeks are told, 1 = Monday. */
  weekday: number;
  sales: { at: number; cents: number }[];
};

/** A day or week that is told. */
export type Period = {
  store: string;
  tipo: string;
  first: string;
  from: number;
  until: number;
  announced: number;
};

/** What its insight says: it has sold `cents` up to `soldUntil`. */
export type Summary = Omit<Period, "announced"> & {
  soldUntil: number;
  cents: number;
  tickets: number;
};

/** The start of the business day of this date. */
export const startOf = ({ zone, dayStartsAt }: Store, date: string) =>
  instantOf(zone, wallOf(date, dayStartsAt));

/** When clocks that began the day at its start next show the summary time; the end where that is not in the day. */
export function announcedAt(store: Store, date: string): number {
  const [start, end] = [startOf(store, date), startOf(store, addDays(date, 1))];
  const wall = [date, addDays(date, 1)]
    .map((some) => wallOf(some, store.summaryTime))
    .find((some) => some > wallOf(date, store.dayStartsAt));
  const at = instantOf(store.zone, wall ?? 0);
  return at > start && at < end ? at : end;
}

const weekdayOf = (date: string) => new Date(date).getUTCDay() || 7;

/** Weeks are told on the day of the change, at a time that it may skip or repeat. */
export const weekdayOfChange = ([change]: ClockChange[]) =>
  weekdayOf(dateOf(change ? (change.wallBefore + change.wallAfter) / 2 : 0));

/** The middles of what is skipped and repeated. */
export const middlesOf = (changes: ClockChange[]): string[] =>
  changes.map(({ wallBefore, wallAfter }) => timeOf((wallBefore + wallAfter) / 2));

export const dayStarts = ["00:00:00", "02:30:00", "06:00:00"];

/** Each start of the day with summary times after, at and before it, some skipped or repeated. */
export function timesOf(changes: ClockChange[]): Times[] {
  const [one = "20:00:00", other = "02:00:00"] = middlesOf(changes);
  const pairs = [
    ["00:00:00", "20:00:00"],
    ["00:00:00", one],
    ["02:30:00", "02:30:00"],
    ["02:30:00", other],
    ["06:00:00", "02:00:00"],
  ];
  const different = new Set(pairs.map((pair) => pair.join(" ")));
  return [...different].map((pair) => {
    const [dayStartsAt = "", summaryTime = ""] = pair.split(" ");
    return { dayStartsAt, summaryTime };
  });
}

/** A minute past: every `step`, and every half an hour around the changes. */
export function ticksBetween(
  from: number,
  until: number,
  step: number,
  changes: ClockChange[],
): number[] {
  const ticks = new Set<number>();
  const every = (length: number, first: number, last: number) => {
    for (let at = Math.max(first, from); at <= Math.min(last, until); at += length) {
      ticks.add(at + 60_000);
    }
  };
  every(step, from, until);
  for (const { at } of changes) {
    every(hour / 2, at - 1.5 * hour, at + 1.5 * hour);
  }
  return [...ticks].sort((a, b) => a - b);
}

const settles = 30_000;
/** So long after it was told changes of a day that runs leave no mark, and it is looked at once more. */
const lookAgainAfter = hour / 4;

/** What must have been announced by the last tick, from the last period on that was at the first. */
export function periodsOf(store: Store, ticks: number[]): Period[] {
  const [first = 0, last = 0] = [ticks[0], ticks.at(-1)].map((at) => (at ?? 0) - settles);
  const periods: Period[] = [];
  const add = (tipo: string, period: Omit<Period, "store" | "tipo">, next: number) => {
    if (next > first && period.announced <= last)
      periods.push({ store: store.id, tipo, ...period });
  };
  const weekAnnouncedAt = (date: string) =>
    Math.max(startOf(store, date), instantOf(store.zone, wallOf(date, store.summaryTime)));
  for (let date = dateOf(first - 9 * day); date <= dateOf(last + day); date = addDays(date, 1)) {
    const start = (days: number) => startOf(store, addDays(date, days));
    const announced = announcedAt(store, date);
    const next = announcedAt(store, addDays(date, 1));
    add("VENTAS_DIARIAS", { first: date, from: start(0), until: start(1), announced }, next);
    if (weekdayOf(date) !== store.weekday) continue;
    const week = { first: addDays(date, -7), from: start(-7), until: start(0) };
    const told = weekAnnouncedAt(date);
    add("VENTAS_SEMANALES", { ...week, announced: told }, weekAnnouncedAt(addDays(date, 7)));
  }
  return periods;
}

/** The ticks at which this period is told, looked at again and completed. */
export function tellingsOf({ announced, until }: Period, ticks: number[]): number[] {
  const tellings: number[] = [];
  let due = announced;
  for (const tick of ticks) {
    const settled = tick - settles;
    if (settled < due) continue;
    tellings.push(tick);
    if (settled >= until) break;
    due = Math.min(
      until,
      settled < announced + lookAgainAfter ? announced + lookAgainAfter : until,
    );
  }
  return tellings;
}

/** What its insight says after the last of these ticks. */
export function summaryOf(
  store: Store,
  { announced, ...period }: Period,
  ticks: number[],
): Summary {
  const { from, until } = period;
  const told = (tellingsOf({ announced, ...period }, ticks).at(-1) ?? 0) - settles;
  const soldUntil = told >= until ? until : announced;
  const sales = store.sales.filter(({ at }) => at >= from && at < soldUntil);
  const cents = sales.reduce((sum, sale) => sum + sale.cents, 0);
  return { ...period, soldUntil, cents, tickets: sales.length };
}

export const line = ({ store, tipo, first, from, until, soldUntil, cents, tickets }: Summary) =>
  `${store} ${tipo} ${first} ${[from, until, soldUntil].map((at) => new Date(at).toISOString()).join(" ")} ${cents} ${tickets}`;
