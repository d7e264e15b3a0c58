/** Clocks of the world by Intl alone: what the SQL of business days is compared with. */

export const hour = 3_600_000;
export const day = 24 * hour;

const formats = new Map<string, Intl.DateTimeFormat>();

/** What the clocks of the zone show at this instant, as if they showed UTC. */
export function wallTime(zone: string, instant: number): number {
  let format = formats.get(zone);
  if (!format) {
    format = new Intl.DateTimeFormat("en-US", {
      timeZone: zone,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
    formats.set(zone, format);
  }
  const part: Record<string, number> = {};
  for (const { type, value } of format.formatToParts(instant)) part[type] = Number(value);
  const { year = 0, month = 0, day: date = 0, hour: h = 0, minute = 0, second = 0 } = part;
  return Date.UTC(year, month - 1, date, h, minute, second) + (instant % 1000);
}

const offset = (zone: string, instant: number) => wallTime(zone, instant) - instant;

/**
 * The instant at which the clocks of the zone show this time. One that they skip is as long after the
 * change as it would have been without it; of one that they show twice, the second.
 */
export function instantOf(zone: string, wall: number): number {
  const key = `${zone} ${wall}`;
  let at = instants.get(key);
  if (at === undefined) {
    at = findInstant(zone, wall);
    instants.set(key, at);
  }
  return at;
}

const instants = new Map<string, number>();

function findInstant(zone: string, wall: number): number {
  const before = offset(zone, wall - day);
  const after = offset(zone, wall + day);
  const real = [wall - before, wall - after].filter((at) => wallTime(zone, at) === wall);
  return real.length > 0 ? Math.max(...real) : wall - before;
}

export type ClockChange = { at: number; wallBefore: number; wallAfter: number };

/** When the clocks are put forward or back, and what they show before and after. */
export function clockChanges(zone: string, from: number, until: number): ClockChange[] {
  const changes: ClockChange[] = [];
  for (let at = from; at < until; at += 6 * hour) {
    let [low, high] = [at, at + 6 * hour];
    if (offset(zone, low) === offset(zone, high)) continue;
    while (high - low > 1000) {
      const middle = Math.floor((low + high) / 2000) * 1000;
      if (offset(zone, middle) === offset(zone, low)) low = middle;
      else high = middle;
    }
    changes.push({
      at: high,
      wallBefore: high + offset(zone, low),
      wallAfter: wallTime(zone, high),
    });
  }
  return changes;
}

export const dateOf = (wall: number) => new Date(wall).toISOString().slice(0, 10);
export const timeOf = (wall: number) => new Date(wall).toISOString().slice(11, 19);

/** The wall time of this date and time of day. */
export const wallOf = (date: string, time: string) => Date.parse(`${date}T${time}Z`);

export const addDays = (date: string, days: number) =>
  dateOf(wallOf(date, "00:00:00") + days * day);
