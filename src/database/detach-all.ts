import type { Client } from "pg";
import { UsageError } from "../process.ts";
import { dependentObjects, insufficientPrivilege, sqlState } from "./away.ts";
import { lockPreparation } from "./preparation-lock.ts";
import { nexusRoles, rolesThere } from "./roles.ts";
import type { Say } from "./steps.ts";

/** With the role that may drop it. Graphile Worker's only where it is ours. */
const schemas = [
  { name: "nexus_api", owners: ["nexus_owner"] },
  { name: "nexus_engine", owners: ["nexus_owner"] },
  { name: "graphile_worker", owners: ["nexus_queue", "nexus_worker"] },
];

type Schema = { name: string; owner: string };

async function ownSchemas(client: Client): Promise<Schema[]> {
  const { rows } = await client.query<Schema>(
    "select nspname as name, nspowner::regrole::text as owner from pg_catalog.pg_namespace",
  );
  return schemas.flatMap(({ name, owners }) =>
    rows.filter((row) => row.name === name && owners.includes(row.owner)),
  );
}

export async function hasEngine(client: Client): Promise<boolean> {
  return (await ownSchemas(client)).some(({ name }) => name === "nexus_engine");
}

/**
 * Throws a UsageError where the engine cannot be removed now: one of its processes is connected or starts, or
 * something that is not ours depends on it. Holds the preparation lock from then on, so that none starts meanwhile.
 */
export async function checkRemovable(client: Client): Promise<void> {
  const isLocked = await lockPreparation(client);
  const processes = await engineProcesses(client);
  if (processes.length > 0 || !isLocked) {
    const list =
      processes.length > 0 ? processes.join("\n  ") : "a start that prepares the database";
    throw new UsageError(
      `Nothing was changed: the engine runs on this database. Stop these processes and run this again:\n  ${list}`,
    );
  }
  const foreign = await dependents(client);
  if (foreign.length > 0) {
    throw new UsageError(
      `Nothing was changed: these are not the engine's, but depend on it or belong to its roles. Drop or change them, and run this again:\n  ${foreign.join("\n  ")}`,
    );
  }
}

async function engineProcesses(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(
    `select pg_catalog.format('%s (login %s, from %s, connections: %s)', a.application_name, a.usename,
       coalesce(host(a.client_addr), 'this machine or unknown'), count(*)) as line
     from pg_catalog.pg_stat_activity a
     where a.datname = current_database() and a.application_name like 'nexus-%' and a.pid <> pg_catalog.pg_backend_pid()
     group by a.application_name, a.usename, a.client_addr order by 1`,
  );
  return [...rows.map(({ line }) => line), ...(await aliveWorkers(client))];
}

/** Those that connect through PgBouncer may be seen by another name. */
async function aliveWorkers(client: Client): Promise<string[]> {
  if (!(await hasEngine(client))) return [];
  const { rows } = await client.query<{ line: string }>(
    `select pg_catalog.format('worker, process %s on host %s', w.pid, w.host) as line
     from nexus_engine.worker_pool w where w.heartbeat_at > now() - interval '30 seconds' order by 1`,
  );
  return rows.map(({ line }) => line);
}

/** What would be dropped with our schemas, or with what our roles own, and is not in them. */
async function dependents(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(
    `with recursive gone as (
       select 'pg_catalog.pg_namespace'::regclass::oid as classid, n.oid as objid
       from pg_catalog.pg_namespace n where n.nspname = any ($1)
       union
       select d.classid, d.objid from gone g
       join pg_catalog.pg_depend d on d.refclassid = g.classid and d.refobjid = g.objid
     ), owned as (
       select s.classid, s.objid from pg_catalog.pg_shdepend s
       join pg_catalog.pg_roles r on r.oid = s.refobjid and r.rolname = any ($2)
       where s.refclassid = 'pg_catalog.pg_authid'::regclass and s.deptype = 'o'
         and s.dbid = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
     ), named as (
       select coalesce(r.ev_class::regclass::text, pg_catalog.pg_describe_object(o.classid, o.objid, 0)) as line, i.*
       from (select * from gone union select * from owned) o
       cross join lateral pg_catalog.pg_identify_object(o.classid, o.objid, 0) i
       left join pg_catalog.pg_rewrite r on o.classid = 'pg_catalog.pg_rewrite'::regclass and r.oid = o.objid
     )
     select distinct n.line from named n
     where coalesce(n.schema <> all ($1 || array['pg_toast']), true)
       -- What has no schema of its own says which one it is in, or on whose table.
       and not (n.schema is null and n.identity ~ ('\\m(' || pg_catalog.array_to_string($1, '|') || ')\\M'))
       and n.type <> 'default acl'
       -- What detach takes away before.
       and not (n.type = 'trigger' and n.identity like 'nexus\\_%')
     order by n.line`,
    [(await ownSchemas(client)).map(({ name }) => name), nexusRoles],
  );
  return rows.map(({ line }) => line);
}

/** What is lost with our schemas, a line each. */
export async function describeLosses(client: Client): Promise<string[]> {
  if (!(await hasEngine(client))) return [];
  const { rows } = await client.query<{ line: string }>(
    `select x.what || ': ' || x.rows as line from (values
       (1, 'settings of stores', (select count(*) from nexus_engine.store_settings)),
       (2, 'thresholds of products', (select count(*) from nexus_engine.product_settings)),
       (3, 'operators', (select count(*) from nexus_engine.operator)),
       (4, 'parameters of insight types', (select count(*) from nexus_engine.insight_type)),
       (5, 'notes of what was told and dismissed', (select count(*) from nexus_engine.open_insight)),
       (6, 'times that a product was out of stock', (select count(*) from nexus_engine.stock_out)),
       (7, 'runs of jobs', (select count(*) from nexus_engine.job_run)),
       (8, 'jobs that wait', (select count(*) from graphile_worker._private_jobs))
     ) x (n, what, rows) where x.rows > 0 order by x.n`,
  );
  return rows.map(({ line }) => line);
}

/** Rows of our types in the POS's insights, as a sentence. They are left: nobody can tell who made which. */
async function describeInsights(client: Client): Promise<string | undefined> {
  const { rows } = await client.query<{ all: string; active: string }>(
    `select count(*) as all, count(*) filter (where i.is_active) as active
     from public.insights i join nexus_engine.insight_type t on t.tipo = i.tipo`,
  );
  const [counts] = rows;
  if (!counts || counts.all === "0") return undefined;
  return `Kept ${counts.all} rows of our types in public.insights, ${counts.active} of them active, which nothing resolves from now on: the table is the POS's, and it makes such rows as well.`;
}

/**
 * Drops our schemas and whatever our roles were given in this database, then the roles. Call it after
 * checkRemovable and detach. Returns false where something is left that only somebody else may take away.
 */
export async function removeAll(client: Client, say: Say): Promise<boolean> {
  const found = await ownSchemas(client);
  const roles = await rolesThere(client);
  const others = await otherDatabases(client, roles);
  const insights = (await hasEngine(client)) ? await describeInsights(client) : undefined;
  await client.query("begin");
  try {
    await client.query("set local lock_timeout = '10s'");
    for (const { name, owner } of found) {
      await client.query(`set local role ${owner}`);
      await client.query(`drop schema ${name} cascade`);
      await client.query("reset role");
    }
    for (const role of roles) await takeRightsFrom(client, role, others.length > 0);
    await client.query("commit");
  } catch (error) {
    await client.query("rollback");
    throw error;
  }
  if (found.length > 0) say(`Dropped the schemas ${found.map(({ name }) => name).join(", ")}.`);
  if (insights) say(insights);
  return dropRoles(client, roles, others, say);
}

/** Default privileges, and what somebody granted by hand, as far as the login may. */
async function takeRightsFrom(client: Client, role: string, isUsedElsewhere: boolean) {
  const database = client.escapeIdentifier(client.database ?? "");
  const statements = [
    `revoke all on database ${database} from ${role}`,
    // With the login's own rights it would take away those on other databases as well.
    `${isUsedElsewhere ? `set local role ${role}; ` : ""}drop owned by ${role}`,
  ];
  for (const statement of statements) {
    await client.query("savepoint one");
    await client.query(statement).catch(() => client.query("rollback to one"));
    await client.query("reset role");
  }
}

/** Whose objects our roles own, or have rights on. */
async function otherDatabases(client: Client, roles: string[]): Promise<string[]> {
  const { rows } = await client.query<{ datname: string }>(
    `select distinct d.datname from pg_catalog.pg_shdepend s
     join pg_catalog.pg_roles r on r.oid = s.refobjid and r.rolname = any ($1)
     join pg_catalog.pg_database d on d.oid = s.dbid
     where s.refclassid = 'pg_catalog.pg_authid'::regclass and d.datname <> current_database() order by d.datname`,
    [roles],
  );
  return rows.map(({ datname }) => datname);
}

/** Roles are the cluster's: they stay while another database of it uses them. */
async function dropRoles(
  client: Client,
  roles: string[],
  others: string[],
  say: Say,
): Promise<boolean> {
  const list = roles.join(", ");
  if (roles.length === 0) {
    say("There are no roles of ours in this cluster.");
    return true;
  }
  if (others.length > 0) {
    const names = others.map((name) => `"${name}"`).join(", ");
    say(
      `Kept the roles ${list} with their members: they are the cluster's, and needed by ${names}. Remove the engine there as well, and they go with the last one.`,
    );
    return true;
  }
  try {
    await client.query(`drop role ${list}`);
    say(`Dropped the roles ${list}, and with them all memberships.`);
    return true;
  } catch (error) {
    if (![insufficientPrivilege, dependentObjects].includes(sqlState(error) ?? "")) throw error;
    const { message, detail } = error as Error & { detail?: string };
    say(
      `LEFT: the roles ${list} (${message}${detail ? `: ${detail}` : ""}). Have a superuser execute here: drop owned by ${list}; drop role ${list};`,
    );
    return false;
  }
}
