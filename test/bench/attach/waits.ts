import { setTimeout as sleep } from "node:timers/promises";
import { cashier, connectAs } from "./traffic.ts";

/** A session that waits for a lock: for how long by now, and behind whom. */
type Waiting = {
  pid: number;
  name: string;
  ms: number;
  lock: string;
  behind: { pid: number; name: string }[] | null;
};
/** A cashier was seen waiting behind a session of this name. */
export type Wait = { at: number; ms: number; name: string; lock: string };

const everyMs = 3;

/** Looks, over and over, at which cashier waits behind whom. */
export async function watchWaits(url: string): Promise<{ waits: Wait[]; stop(): Promise<void> }> {
  const client = await connectAs(url, "watch");
  const waits: Wait[] = [];
  let going = true;
  const watching = (async () => {
    while (going) {
      const { rows } = await client.query<Waiting>({ name: "waiting", text: waiting });
      for (const row of rows.filter(({ name }) => name === cashier)) {
        const name = inFront(row.pid, rows);
        waits.push({ at: performance.now(), ms: row.ms, name, lock: row.lock });
      }
      await sleep(everyMs);
    }
    await client.end();
  })();
  const stop = () => {
    going = false;
    return watching;
  };
  return { waits, stop };
}

/** pg_blocking_pids stops everybody who wants a lock, so it is asked only of those who wait. */
const waiting = `
  select a.pid, a.application_name as name, l.ms, l.lock, (
    select jsonb_agg(jsonb_build_object('pid', b.pid, 'name', coalesce(nullif(b.application_name, ''), b.backend_type)))
    from unnest(pg_catalog.pg_blocking_pids(a.pid)) p (pid)
    join pg_catalog.pg_stat_activity b on b.pid = p.pid) as behind
  from pg_catalog.pg_stat_activity a
  cross join lateral (
    select extract(epoch from clock_timestamp() - l.waitstart)::float8 * 1000 as ms,
      coalesce(l.relation::regclass::text, l.locktype) || ' ' || l.mode as lock
    from pg_catalog.pg_locks l where l.pid = a.pid and not l.granted and l.waitstart is not null limit 1
  ) l
  where a.wait_event_type = 'Lock' and a.datname = current_database()`;

/**
 * Who is at the front of the queue: the name of a session of ours where there is one, because what stands
 * in it would not wait, or not as long, without us.
 */
function inFront(pid: number, all: Waiting[], seen = new Set<number>()): string {
  seen.add(pid);
  const names = (all.find((row) => row.pid === pid)?.behind ?? []).map((before) =>
    isOfThePos(before.name) && !seen.has(before.pid) ? inFront(before.pid, all, seen) : before.name,
  );
  return names.find((name) => !isOfThePos(name)) ?? names[0] ?? cashier;
}

/** Cashiers, the POS's own migrations and its backups have names that say so. */
export function isOfThePos(name: string): boolean {
  return name.startsWith("pos-");
}
