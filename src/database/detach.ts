import type { Client } from "pg";
import { UsageError } from "../process.ts";
import { dependentObjects, lockNotAvailable, sqlState } from "./away.ts";
import { MigrationError } from "./blockers.ts";
import { connect } from "./client.ts";
import { posTables } from "./pos.ts";
import { nexusRoles } from "./roles.ts";
import { describeSession, type Session, sessionsOn } from "./sessions.ts";
import type { Say } from "./steps.ts";

/** How long to try to have the POS's tables, 25 ms at a time, and from when on it is told who is in the way. */
const usualPatience = { givesUpAfterMs: 60_000, tellsAfterMs: 2_000 };

/**
 * Takes our triggers, views and rights off the POS's tables, in one transaction, and says what it did.
 * Our own tables stay. Returns false where rights are left that only somebody else may take away.
 * Throws MigrationError when the POS keeps its tables locked for too long, naming who does; then nothing was changed.
 */
export async function detach(
  client: Client,
  ownerUrl: string,
  say: Say,
  { givesUpAfterMs, tellsAfterMs } = usualPatience,
): Promise<boolean> {
  const before = await readTraces(client);
  const telling = setTimeout(() => tellWaiting(ownerUrl, say), tellsAfterMs);
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
    throw new MigrationError(
      explain(givesUpAfterMs, await sessionsOn(client, posTables, { writing: false })),
      { cause },
    );
  } finally {
    clearTimeout(telling);
  }
  const after = await readTraces(client);
  return report(before, after, say);
}

/** What there is of ours on the POS's tables, or reads them. */
type Traces = {
  triggers: string[];
  indexes: string[];
  views: string[];
  functions: string[];
  grants: Grant[];
};
type Grant = { statement: string; object: string; role: string; grantor: string };

async function readTraces(client: Client): Promise<Traces> {
  const { rows } = await client.query<Omit<Traces, "grants">>(
    `select
       array(select pg_catalog.format('%s.%s', t.tgrelid::regclass, t.tgname) from pg_catalog.pg_trigger t
         join pg_catalog.pg_class c on c.oid = t.tgrelid
         where c.relnamespace = 'public'::regnamespace and t.tgname like 'nexus\\_%' and not t.tgisinternal
         order by 1) as triggers,
       array(select c.oid::regclass::text from pg_catalog.pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind = 'i' and c.relname like 'nexus\\_%'
         order by 1) as indexes,
       array(select c.oid::regclass::text from pg_catalog.pg_class c
         where c.relnamespace::regnamespace::text in ('nexus_engine', 'nexus_api') and c.relkind = 'v'
         order by 1) as views,
       array(select p.oid::regprocedure::text from pg_catalog.pg_proc p
         where p.pronamespace::regnamespace::text in ('nexus_engine', 'nexus_api')
         order by 1) as functions`,
  );
  const traces = rows[0] as Omit<Traces, "grants">;
  return { ...traces, grants: await readGrants(client) };
}

/** What our roles were given outside of our schemas, by whomever, with the statement that takes it away. */
async function readGrants(client: Client): Promise<Grant[]> {
  const { rows } = await client.query<Grant>(
    `select distinct pg_catalog.format('revoke all on %s %s from %I', g.kind, g.object, r.rolname) as statement,
       pg_catalog.concat_ws(' ', nullif(g.kind, 'table'), g.object) as object, r.rolname as role,
       g.grantor::regrole::text as grantor
     from (
       select 'schema' as kind, n.oid as namespace, n.oid::regnamespace::text as object, a.grantee, a.grantor
       from pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
       union all
       select case c.relkind when 'S' then 'sequence' else 'table' end, c.relnamespace, c.oid::regclass::text, a.grantee, a.grantor
       from pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
       union all
       select 'table', c.relnamespace, c.oid::regclass::text, a.grantee, a.grantor
       from pg_catalog.pg_class c join pg_catalog.pg_attribute t on t.attrelid = c.oid, pg_catalog.aclexplode(t.attacl) a
       union all
       select 'routine', p.pronamespace, p.oid::regprocedure::text, a.grantee, a.grantor
       from pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) a
     ) g
     join pg_catalog.pg_roles r on r.oid = g.grantee and r.rolname = any ($1)
     where g.namespace::regnamespace::text not in ('nexus_engine', 'nexus_api', 'graphile_worker')
     order by object, role`,
    [nexusRoles],
  );
  return rows;
}

/** As far as the login may: of what another role has granted, Postgres takes away nothing. */
async function revoke(client: Client): Promise<void> {
  for (const { statement } of await readGrants(client)) {
    await client.query("savepoint one");
    await client.query(statement).catch(() => client.query("rollback to one"));
  }
}

function report(before: Traces, after: Traces, say: Say): boolean {
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
    say(
      `Took away ${views} views and ${functions} functions that depend on the POS's columns: attach makes them anew.`,
    );
  }
  const grants = before.grants.length - after.grants.length;
  if (grants > 0) {
    const objects = [...new Set(before.grants.map(({ object }) => object))];
    say(`Took away the rights of our roles on ${objects.join(", ")}.`);
  }
  if (triggers.length + indexes.length + views + functions + grants === 0) {
    say("There was nothing of ours on the POS's tables any more.");
  }
  for (const grantor of new Set(after.grants.map((grant) => grant.grantor))) {
    const statements = after.grants
      .filter((grant) => grant.grantor === grantor)
      .map(({ statement }) => `\n  ${statement};`);
    say(
      `LEFT: this login may not take away what "${grantor}" granted. As "${grantor}":${statements.join("")}`,
    );
  }
  return after.grants.length === 0;
}

/** From a second connection, because the first one waits; where it fails, nobody is told. */
async function tellWaiting(ownerUrl: string, say: Say): Promise<void> {
  const client = await connect(ownerUrl, "nexus-detach").catch(() => undefined);
  try {
    const inTheWay = client ? await sessionsOn(client, posTables, { writing: false }) : [];
    if (inTheWay.length > 0) {
      say(
        `Waiting for the POS's tables, 25 ms at a time so that no sale waits. In the way:\n${list(inTheWay)}`,
      );
    }
  } catch {
  } finally {
    await client?.end();
  }
}

function explain(patienceMs: number, inTheWay: Session[]): string {
  const [first] = inTheWay;
  const who = first
    ? `In the way:\n${list(inTheWay)}\nRun this again when these transactions have ended, or end them: select pg_terminate_backend(${first.pid})`
    : "Run this again.";
  return `Nothing was changed: the POS used its tables for ${patienceMs / 1000} s without a pause that was long enough. ${who}`;
}

const list = (sessions: Session[]) =>
  sessions.map((session) => `  ${describeSession(session)}`).join("\n");
