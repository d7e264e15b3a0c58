import type { Client } from "pg";

/** A session of the server, as pg_stat_activity has it. */
export type Session = {
  pid: number;
  application: string | null;
  login: string | null;
  state: string | null;
  xact_start: Date | null;
  query_start?: Date | null;
};

/**
 * The sessions that hold locks on these tables of the POS's, the oldest transaction first: on `writing` those
 * alone that keep a trigger from being made.
 */
export async function sessionsOn(
  client: Client,
  tables: string[],
  { writing }: { writing: boolean },
): Promise<Session[]> {
  const { rows } = await client.query<Session>(
    `select a.pid, a.application_name as application, a.usename as login, a.state, a.xact_start
     from pg_catalog.pg_stat_activity a
     where a.pid <> pg_catalog.pg_backend_pid() and a.application_name <> 'nexus-detach' and exists (
       select from pg_catalog.pg_locks l
       join pg_catalog.pg_class c on c.oid = l.relation
       where l.pid = a.pid and l.granted
         and c.relnamespace = 'public'::regnamespace and c.relname = any ($1)
         and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
         and not ($2 and l.mode in ('AccessShareLock', 'RowShareLock')))
     order by a.xact_start limit 5`,
    [tables, writing],
  );
  return rows;
}

/** Without the text of its statement, which has data in it. */
export function describeSession({ pid, application, login, state, ...since }: Session): string {
  const statement =
    since.query_start === undefined ? "" : `, statement since ${at(since.query_start)}`;
  return `pid ${pid} (${application || "no application_name"}, ${login ?? "unknown login"}, ${state ?? "unknown state"}, transaction since ${at(since.xact_start)}${statement})`;
}

function at(time: Date | null): string {
  return time?.toISOString() ?? "an unknown time";
}
