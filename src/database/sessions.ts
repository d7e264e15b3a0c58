import type { Client } from "pg";

/** A session of the server, as pg_stat_activity has it. */
export type Session = {
  pid: number;
  application: string | null;
  login: string | null;
  state: string | null;
  xact_start: Date | null;
  query_start?: Date | null;
  /** A process of the engine, or somebody who calls detach() or attach(). */
  ours?: boolean;
};

/**
 * The sessions that hold locks on these tables of the POS's, the oldest transaction first: on `writing` those
 * alone that keep a trigger from being made. `waitingPid` is who waits, also for others of us; this session
 * unless another is named.
 */
export async function sessionsOn(
  client: Client,
  tables: string[],
  { writing, waitingPid }: { writing: boolean; waitingPid?: number },
): Promise<Session[]> {
  const { rows } = await client.query<Session>(
    `with held as (
       select l.pid, n.nspname as schema, c.relname as relation, l.mode
       from pg_catalog.pg_locks l
       join pg_catalog.pg_class c on c.oid = l.relation
       join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       where l.granted and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
     ), waiting as (
       select coalesce($3, pg_catalog.pg_backend_pid()) as pid
     )
     select a.pid, a.application_name as application, a.usename as login, a.state, a.xact_start,
       a.application_name like 'nexus-%' or exists (
         select from held h where h.pid = a.pid and h.schema = 'nexus_engine' and h.relation = 'detached') as ours
     from pg_catalog.pg_stat_activity a, waiting w
     where a.pid not in (w.pid, pg_catalog.pg_backend_pid()) and w.pid <> all (pg_catalog.pg_blocking_pids(a.pid))
       and (a.pid = any (pg_catalog.pg_blocking_pids(w.pid)) or exists (
         select from held h where h.pid = a.pid and h.schema = 'public' and h.relation = any ($1)
           and not ($2 and h.mode in ('AccessShareLock', 'RowShareLock'))))
     order by a.xact_start limit 5`,
    [tables, writing, waitingPid ?? null],
  );
  return rows;
}

/** Without the text of its statement, which has data in it. */
export function describeSession({
  pid,
  application,
  login,
  state,
  ours,
  ...since
}: Session): string {
  const statement =
    since.query_start === undefined ? "" : `, statement since ${at(since.query_start)}`;
  const whose = ours ? ", of the engine" : "";
  return `pid ${pid} (${application || "no application_name"}${whose}, ${login ?? "unknown login"}, ${state ?? "unknown state"}, transaction since ${at(since.xact_start)}${statement})`;
}

function at(time: Date | null): string {
  return time?.toISOString() ?? "an unknown time";
}
