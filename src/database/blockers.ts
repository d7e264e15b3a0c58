import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { lockNotAvailable, sqlState } from "./away.ts";
import { connect } from "./client.ts";
import { describeSession, type Session } from "./sessions.ts";

/** A change of the database that was not made; nothing of it is left. */
export class MigrationError extends Error {
  override name = "MigrationError";
}

type Wait = Session & { kind: string; relation: string | null; mode: string };

/** Work that ends sooner is not looked at. */
const lookAfterMs = 100;
const lookEveryMs = 100;

/**
 * Runs `work`, which waits for locks on `client`. When it gives up on one, throws a MigrationError
 * that says which, who held it and since when: seen from a second connection while it waited, because
 * afterwards nobody knows. `what` names the work. A statement's text is not shown: it has data in it.
 */
export async function explainLocks<T>(
  client: Client,
  connectionString: string,
  what: string,
  work: () => Promise<T>,
): Promise<T> {
  const done = new AbortController();
  const seen: { waits: Wait[] } = { waits: [] };
  // An observer that fails costs the explanation, no more.
  const observed = observe(client, connectionString, done.signal, seen).catch(() => {});
  try {
    return await work();
  } catch (cause) {
    if (sqlState(cause) !== lockNotAvailable) throw cause;
    throw new MigrationError(explain(what, seen.waits), { cause });
  } finally {
    done.abort();
    await observed;
  }
}

async function observe(
  client: Client,
  connectionString: string,
  signal: AbortSignal,
  seen: { waits: Wait[] },
): Promise<void> {
  await sleep(lookAfterMs, undefined, { signal });
  const { processID } = client as Client & { processID: number };
  const observer = await connect(connectionString, "nexus-observer");
  try {
    for (;;) {
      const { rows } = await observer.query<Wait>(waitsOf, [processID]);
      if (rows.length > 0) seen.waits = rows;
      await sleep(lookEveryMs, undefined, { signal });
    }
  } finally {
    await observer.end();
  }
}

/** What a backend waits for, and the sessions in front of it. */
const waitsOf = `
  select w.locktype as kind, c.oid::regclass::text as relation, w.mode, a.pid, a.application_name as application,
    a.usename as login, a.state, a.query_start, a.xact_start
  from pg_catalog.pg_locks w
  left join pg_catalog.pg_class c on c.oid = w.relation
    and w.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
  join pg_catalog.pg_stat_activity a on a.pid = any (pg_catalog.pg_blocking_pids($1))
  where w.pid = $1 and not w.granted
  order by a.xact_start`;

function explain(what: string, waits: Wait[]): string {
  const [first] = waits;
  if (!first) {
    return `${what}: gave up on a lock that another session holds. Nothing was changed; start again.`;
  }
  const lock = lockOf(first);
  const holders = waits.map((wait) => `  ${describeSession(wait)}`);
  return `${what}: gave up waiting for ${lock}, so that the shops do not wait behind us. In front of us:
${holders.join("\n")}
Nothing was changed. Start again when these transactions have ended, or end them: select pg_terminate_backend(${first.pid})`;
}

function lockOf({ kind, relation, mode }: Wait): string {
  if (relation) return `${mode} on ${relation}`;
  // What building an index concurrently waits for.
  return kind === "virtualxid" ? "older transactions to end" : `a lock of kind ${kind}`;
}
