import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseCrontab } from "graphile-worker";

const items = parseCrontab(readFileSync(join(import.meta.dirname, "../../../crontab"), "utf8"));

/** The tasks that the crontab enqueues at this instant. */
export function ticksAt(at: Date): string[] {
  const digest = {
    min: at.getUTCMinutes(),
    hour: at.getUTCHours(),
    date: at.getUTCDate(),
    month: at.getUTCMonth() + 1,
    dow: at.getUTCDay(),
  };
  return items.filter((item) => item.match(digest)).map((item) => item.task);
}
