import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import type { Logger } from "../log.ts";
import { backoff, sqlState } from "./away.ts";
import { connect } from "./client.ts";
import { ensurePosIndexes } from "./pos.ts";
import type { Say } from "./steps.ts";

/** Held by the one process that prepares the database. */
export const preparationLock = 7_041_948_524;

/**
 * How long an attempt waits for a lock: of our triggers, of which those on the POS's tables are asked for
 * 25 ms at a time, and of an index, which makes nobody wait.
 */
export const attachLocks = { triggers: 1_000, index: 60_000 };
/** From one attempt in the background to the next. */
const pauses = { firstMs: 1_000, mostMs: 60_000 };
const lockNotAvailable = "55P03";

/**
 * Puts our triggers on the POS's tables and then our indexes, unless detach() was called: then that is left to
 * nexus_engine.attach(). Returns false when the POS was using its tables, which it never waits for us to
 * have: until a later attempt the engine works without them, and looks at every product instead.
 * Call it with the preparation lock, on a connection that may put triggers on the POS's tables.
 */
export async function attach(
  client: Client,
  ownerUrl: string,
  log: Logger,
  { triggers, index }: typeof attachLocks,
  { say = () => {}, attachAgain = false }: How = {},
): Promise<boolean> {
  const before = await triggersNow(client);
  const began = performance.now();
  await client.query("begin");
  try {
    await client.query("select set_config('lock_timeout', $1, true)", [String(triggers)]);
    // An operator's detach() that is under way is waited for, and one that comes now waits for us.
    await client.query("lock table nexus_engine.detached in share row exclusive mode");
    const { rowCount: isDetached } = await client.query("select from nexus_engine.detached");
    const rests = isDetached && !attachAgain;
    if (!rests) await client.query("select nexus_engine.attach()");
    await client.query("commit");
    if (rests) {
      say("triggers: none, detach() was called; npm run attach puts them on");
      log.warn(
        "detached from the POS's tables: the engine rests until nexus_engine.attach() is called",
      );
      return true;
    }
    const now = await triggersNow(client);
    const made = now.filter((trigger) => !before.includes(trigger)).length;
    const ms = Math.round(performance.now() - began);
    say(`triggers: ${now.length} there${made > 0 ? `, ${made} of them made in ${ms} ms` : ""}`);
  } catch (error) {
    await client.query("rollback");
    if (sqlState(error) !== lockNotAvailable) throw error;
    const inUseBy = await users(client);
    say(`triggers: waiting for the POS's tables${heldBy(inUseBy)}`);
    log.warn(
      { inUseBy },
      "our triggers on the POS's tables have to wait, so that its sales need not",
    );
    return false;
  }
  await client.query("select set_config('lock_timeout', $1, false)", [String(index)]);
  const { built, left } = await ensurePosIndexes(client, ownerUrl, log);
  if (built.length > 0) say(`index: built ${built.join(", ")}`);
  if (left.length > 0) {
    say(
      `index: left to an owner of the POS's tables, without it reports are slower: ${left.join("; ")}`,
    );
  }
  return true;
}

/** Our triggers, each as it was made. */
async function triggersNow(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ made: string }>(
    `select t.oid || ' ' || t.xmin as made from pg_catalog.pg_trigger t
     join pg_catalog.pg_class c on c.oid = t.tgrelid
     where c.relnamespace = 'public'::regnamespace and t.tgname like 'nexus\\_%' and not t.tgisinternal`,
  );
  return rows.map(({ made }) => made);
}

function heldBy(inUseBy: User[]): string {
  const all = inUseBy.map(
    ({ pid, application, login, state, since }) =>
      `pid ${pid} (${application || "no application_name"}, ${login ?? "unknown login"}, ${state ?? "unknown state"}, transaction since ${since?.toISOString() ?? "an unknown time"})`,
  );
  return all.length > 0 ? `, held by ${all.join(", ")}` : "";
}

type How = { say?: Say; attachAgain?: boolean };
type KeepOptions = Partial<typeof pauses & typeof attachLocks> & How;

/**
 * Goes on trying to attach, with growing pauses, in the background of a process that serves already.
 * `ended` settles when that is done, or was stopped.
 */
export function keepAttaching(
  ownerUrl: string,
  log: Logger,
  { say, attachAgain, ...given }: KeepOptions = {},
): { ended: Promise<void>; stop: () => Promise<void> } {
  const stopping = new AbortController();
  const { signal } = stopping;
  const options = { ...pauses, ...attachLocks, ...given };
  const wait = backoff(options.firstMs, options.mostMs);
  async function run(): Promise<void> {
    for (;;) {
      await sleep(wait.next(), undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      try {
        const how = { ...(say && { say }), ...(attachAgain && { attachAgain }) };
        if (await attachAlone(ownerUrl, log, signal, options, how)) return;
      } catch (err) {
        if (signal.aborted) return;
        say?.(`triggers: not made, trying again: ${err instanceof Error ? err.message : err}`);
        log.warn({ err }, "our triggers could not be made, trying again");
      }
    }
  }
  const ended = run();
  const stop = () => {
    stopping.abort();
    return ended;
  };
  return { ended, stop };
}

/** Unless another process is about it; then the next attempt finds that it is done. */
async function attachAlone(
  ownerUrl: string,
  log: Logger,
  signal: AbortSignal,
  locks: typeof attachLocks,
  how: How,
): Promise<boolean> {
  const client = await connect(ownerUrl, "nexus-attach");
  const end = () => client.end();
  signal.addEventListener("abort", end);
  try {
    // It may have been stopped while it connected.
    signal.throwIfAborted();
    // What was stopped must not go on with the lock that the next start waits for.
    await client.query("set client_connection_check_interval = 250");
    const { rows } = await client.query<{ locked: boolean }>(
      "select pg_try_advisory_lock($1) as locked",
      [preparationLock],
    );
    const done = rows[0]?.locked && (await attach(client, ownerUrl, log, locks, how));
    if (done) log.info("nothing is left to be done on the POS's tables");
    return Boolean(done);
  } finally {
    signal.removeEventListener("abort", end);
    await client.end();
  }
}

type User = {
  pid: number;
  application: string | null;
  login: string | null;
  state: string | null;
  since: Date | null;
};

/** The sessions that keep our triggers off the POS's tables, the oldest transaction first. */
async function users(client: Client): Promise<User[]> {
  const { rows } = await client.query<User>(`
    select a.pid, a.application_name as application, a.usename as login, a.state, a.xact_start as since
    from pg_catalog.pg_stat_activity a
    where a.pid <> pg_catalog.pg_backend_pid() and exists (
      select from pg_catalog.pg_locks l
      where l.pid = a.pid and l.granted
        and l.relation in (select w.relation from nexus_engine.wanted_triggers() w)
        and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
        and l.mode not in ('AccessShareLock', 'RowShareLock'))
    order by a.xact_start limit 5`);
  return rows;
}
