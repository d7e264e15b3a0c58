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

export type Store = {
  id: string;
  zone: string;
  /** When its days end, and its weeks are told. */
  time: string;
  /** On which its weeks are told, 1 = Monday. */
  weekday: number;
  sales: { at: number; cents: number }[];
};

export type Summary = {
  store: string;
  tipo: string;
  first: string;
  from: number;
  until: number;
  cents: number;
  tickets: number;
};

/** The end of the business day of this date. */
export const endOf = ({ zone, time }: Store, date: string) => instantOf(zone, wallOf(date, time));

const weekdayOf = (date: string) => new Date(date).getUTCDay() || 7;

/** Weeks are told on the day of the change, at a time that it may skip or repeat. */
export const weekdayOfChange = ([change]: ClockChange[]) =>
  weekdayOf(dateOf(change ? (change.wallBefore + change.wallAfter) / 2 : 0));

/** Two that every shop could have, and the middles of what is skipped and repeated. */
export function summaryTimes(changes: ClockChange[]): string[] {
  const middles = changes.map(({ wallBefore, wallAfter }) => timeOf((wallBefore + wallAfter) / 2));
  return [...new Set(["00:00:00", "20:00:00", ...middles])];
}

/** A minute past: every `step`, and every quarter of an hour around the changes. */
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
    every(hour / 4, at - 1.5 * hour, at + 1.5 * hour);
  }
  return [...ticks].sort((a, b) => a - b);
}

/** What must have been told by the last tick, from the last period on that was over at the first. */
export function summariesOf(store: Store, ticks: number[]): Summary[] {
  const settled = 30_000;
  const [first = 0, last = 0] = [ticks[0], ticks.at(-1)];
  const summaries: Summary[] = [];
  const add = (tipo: string, firstDay: string, from: number, until: number) => {
    const sales = store.sales.filter(({ at }) => at >= from && at < until);
    const cents = sales.reduce((sum, sale) => sum + sale.cents, 0);
    const tickets = sales.length;
    summaries.push({ store: store.id, tipo, first: firstDay, from, until, cents, tickets });
  };
  const told = (date: string, next: string) =>
    endOf(store, next) + settled > first && endOf(store, date) + settled <= last;
  for (let date = dateOf(first - 9 * day); date <= dateOf(last + day); date = addDays(date, 1)) {
    const before = (days: number) => endOf(store, addDays(date, -days));
    if (told(date, addDays(date, 1))) add("VENTAS_DIARIAS", date, before(1), before(0));
    if (weekdayOf(date) === store.weekday && told(date, addDays(date, 7))) {
      add("VENTAS_SEMANALES", addDays(date, -7), before(8), before(1));
    }
  }
  return summaries;
}

export const line = ({ store, tipo, first, from, until, cents, tickets }: Summary) =>
  `${store} ${tipo} ${first} ${new Date(from).toISOString()} ${new Date(until).toISOString()} ${cents} ${tickets}`;
