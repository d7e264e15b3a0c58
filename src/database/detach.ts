import type { Client } from "pg";
import { UsageError } from "../process.ts";
import { dependentObjects, lockNotAvailable, sqlState } from "./away.ts";
import { MigrationError } from "./blockers.ts";
import { connect } from "./client.ts";
import { byRole, type Grant, nameOf, readGrants, readIndexes, revocations } from "./left.ts";
import { posTables } from "./pos.ts";
import { describeSession, sessionsOn } from "./sessions.ts";
import type { Say } from "./steps.ts";

/** How long to try to have the POS's tables, 25 ms at a time, and from when on it is told who is in the way. */
const usual = { givesUpAfterMs: 60_000, tellsAfterMs: 2_000, forGood: false };

/**
 * Takes our triggers, views and rights off the POS's tables, in one transaction, and says what it did; what is
 * left is told unless it is `forGood`, when removeAll() tells it. Our own tables stay.
 * Throws MigrationError when the POS keeps its tables locked for too long, naming who does; then nothing was changed.
 */
export async function detach(
  client: Client,
  ownerUrl: string,
  say: Say,
  options: Partial<typeof usual> = {},
): Promise<void> {
  const { givesUpAfterMs, tellsAfterMs, forGood } = { ...usual, ...options };
  const before = await readTraces(client);
  const began = performance.now();
  const telling = setTimeout(() => tellWaiting(client, ownerUrl, say), tellsAfterMs);
  await client.query("begin");
  try {
    await client.query("select set_config('lock_timeout', $1, true)", [String(givesUpAfterMs)]);
    await client.query("select nexus_engine.detach()");
    await client.query("select nexus_engine.drop_pos_indexes()");
    await revoke(client);
    await client.query("commit");
  } catch (cause) {
    await client.query("rollback");
    if (sqlState(cause) === dependentObjects) {
      const { detail = "" } = cause as { detail?: string };
      throw new UsageError(
        `Nothing was changed: these are not the engine's, but read its views. Drop or change them, and run this again:\n  ${detail.replaceAll("\n", "\n  ")}`,
        { cause },
      );
    }
    if (sqlState(cause) !== lockNotAvailable) throw cause;
    const waitedMs = performance.now() - began;
    throw new MigrationError(explain(cause as Error, waitedMs, givesUpAfterMs), { cause });
  } finally {
    clearTimeout(telling);
  }
  report(before, await readTraces(client), say, forGood);
}

/** What there is of ours on the POS's tables, or reads them. */
type Traces = {
  triggers: string[];
  indexes: string[];
  views: string[];
  functions: string[];
  grants: Grant[];
};

async function readTraces(client: Client): Promise<Traces> {
  const { rows } = await client.query<Omit<Traces, "grants" | "indexes">>(
    `select
       array(select pg_catalog.format('%s.%s', t.tgrelid::regclass, t.tgname) from pg_catalog.pg_trigger t
         join pg_catalog.pg_class c on c.oid = t.tgrelid
         where c.relnamespace = 'public'::regnamespace and t.tgname like 'nexus\\_%' and not t.tgisinternal
         order by 1) as triggers,
       array(select c.oid::regclass::text from pg_catalog.pg_class c
         where c.relnamespace::regnamespace::text in ('nexus_engine', 'nexus_api') and c.relkind = 'v'
         order by 1) as views,
       array(select p.oid::regprocedure::text from pg_catalog.pg_proc p
         where p.pronamespace::regnamespace::text in ('nexus_engine', 'nexus_api')
         order by 1) as functions`,
  );
  const traces = rows[0] as Omit<Traces, "grants" | "indexes">;
  const indexes = (await readIndexes(client)).map(({ name }) => name);
  return { ...traces, indexes, grants: await readGrants(client) };
}

/** As far as the login may: of what another role has granted, Postgres takes away nothing. */
export async function revoke(client: Client): Promise<void> {
  for (const grant of await readGrants(client)) {
    const statement = `revoke all on ${nameOf(grant)} from ${grant.role}`;
    await client.query("savepoint one");
    await client.query(statement).catch(() => client.query("rollback to one"));
  }
}

function report(before: Traces, after: Traces, say: Say, forGood: boolean): void {
  const gone = (kind: "triggers" | "indexes" | "views" | "functions") =>
    before[kind].filter((name) => !after[kind].includes(name));
  const triggers = gone("triggers");
  if (triggers.length > 0) {
    const tables = new Set(triggers.map((name) => name.replace(/\.[^.]*$/, "")));
    say(`Took away ${triggers.length} triggers on ${[...tables].join(", ")}.`);
  }
  const indexes = gone("indexes");
  if (indexes.length > 0) say(`Took away our indexes: ${indexes.join(", ")}.`);
  const views = gone("views").length;
  const functions = gone("functions").length;
  if (views + functions > 0) {
    const anew = forGood ? "." : ": attach makes them anew.";
    say(
      `Took away ${views} views and ${functions} functions that depend on the POS's columns${anew}`,
    );
  }
  const key = (grant: Grant) => JSON.stringify(grant);
  const stay = new Set(after.grants.map(key));
  const taken = before.grants.filter((grant) => !stay.has(key(grant)));
  if (taken.length > 0) {
    const objects = [...new Set(taken.map(nameOf))];
    say(`Took away the rights of our roles on ${objects.join(", ")}.`);
  }
  if (triggers.length + indexes.length + views + functions + taken.length === 0) {
    const mayBe =
      after.grants.length + after.indexes.length > 0 ? "that this login may take away" : "any more";
    say(`There was nothing of ours on the POS's tables ${mayBe}.`);
  }
  if (!forGood) sayRightsStay(after, say);
}

function sayRightsStay(after: Traces, say: Say): void {
  for (const { by, lines } of byRole(revocations(after.grants))) {
    say(
      `Rights of our roles stay (harmless for a migration, and needed by attach). To leave for good, as ${by}:${lines}`,
    );
  }
}

/** From a second connection, because the first one waits; where it fails, nobody is told. */
async function tellWaiting(waiting: Client, ownerUrl: string, say: Say): Promise<void> {
  const client = await connect(ownerUrl, "nexus-detach").catch(() => undefined);
  try {
    const { processID: waitingPid } = waiting as Client & { processID: number };
    const inTheWay = client
      ? await sessionsOn(client, posTables, { writing: false, waitingPid })
      : [];
    if (inTheWay.length > 0) {
      const list = inTheWay.map((session) => `\n  ${describeSession(session)}`).join("");
      say(
        `Waiting for the POS's tables, 25 ms at a time so that no sale waits. In the way:${list}`,
      );
    }
  } catch {
  } finally {
    await client?.end();
  }
}

/** What nexus_engine.try_for_locks() says; it has seen who was in the way. Before it comes what waits for another of us. */
function explain({ message }: Error, waitedMs: number, patienceMs: number): string {
  const others = "another detach, attach or start of the engine on this database";
  const seconds = (ms: number) => Math.round(ms / 100) / 10;
  if (!message.startsWith("nothing was changed")) {
    return `Nothing was changed: ${others} was not done after ${seconds(waitedMs)} s. Run this again when it is.`;
  }
  const beforeMs = waitedMs - patienceMs;
  const queued =
    beforeMs > 1_000 ? `\n(Before that it waited ${seconds(beforeMs)} s for ${others}.)` : "";
  return `N${message.slice(1)}${queued}`;
}
