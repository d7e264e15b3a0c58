import { type Client, escapeIdentifier } from "pg";
import { UsageError } from "../process.ts";
import { revoke } from "./detach.ts";
import { dropRoles, otherDatabases } from "./drop-roles.ts";
import { byRole, type Left, readIndexes, readLeft, readLogins } from "./left.ts";
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
 * checkRemovable and detach. Returns false where something of ours is left that only somebody else may take away.
 */
export async function removeAll(client: Client, say: Say): Promise<boolean> {
  const found = await ownSchemas(client);
  const roles = await rolesThere(client);
  const logins = await readLogins(client);
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
    await revoke(client);
    await takeDefaults(client);
    for (const role of roles) await takeRightsFrom(client, role, others.length > 0);
    await client.query("commit");
  } catch (error) {
    await client.query("rollback");
    throw error;
  }
  if (found.length > 0) say(`Dropped the schemas ${found.map(({ name }) => name).join(", ")}.`);
  if (insights) say(insights);
  await dropIndexes(client, say);
  const rolesAreDone = await dropRoles(client, roles, others, say);
  return sayLeft(await readLeft(client, logins), say) && rolesAreDone;
}

/** Those that detach() did not see, because the engine was gone; nobody waits for it. */
async function dropIndexes(client: Client, say: Say): Promise<void> {
  const mine = (await readIndexes(client)).filter(({ mayDrop }) => mayDrop);
  await client.query("set lock_timeout = '10s'");
  for (const { name } of mine) {
    // What cannot be had now is told with the rest.
    await client.query(`drop index concurrently ${name}`).then(
      () => say(`Took away our index: ${name}.`),
      () => {},
    );
  }
  await client.query("reset lock_timeout");
}

/** Returns false where something of ours is left. */
export function sayLeft({ ours, ofLogins, logins }: Left, say: Say): boolean {
  for (const { by, lines } of byRole(ours)) say(`LEFT, for "${by}" to take away:${lines}`);
  for (const { by, lines } of byRole(ofLogins)) {
    say(`LEFT to logins, for "${by}" to take away where nothing else needs it:${lines}`);
  }
  if (logins.length > 0) {
    say(
      `LEFT: logins. Those that served the engine alone a superuser may drop: drop role ${logins.map(quoted).join(", ")};`,
    );
  }
  return ours.length === 0;
}

const quoted = (name: string) => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : escapeIdentifier(name));

/** Default privileges of our roles; where there are rights of others', drop owned takes away none at all. */
async function takeDefaults(client: Client): Promise<void> {
  const { rows } = await client.query<{ role: string; statement: string }>(
    `with ours as (
       select r.rolname as role, d.defaclacl as acl,
         case when d.defaclnamespace = 0
           then pg_catalog.acldefault(case d.defaclobjtype when 'S' then 's' else d.defaclobjtype end, d.defaclrole) end as usual,
         pg_catalog.format('alter default privileges for role %I%s ', r.rolname, ' in schema ' || nullif(d.defaclnamespace, 0)::regnamespace) as head,
         case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions'
           when 'T' then 'types' when 'n' then 'schemas' end as kind
       from pg_catalog.pg_default_acl d
       join pg_catalog.pg_roles r on r.oid = d.defaclrole and r.rolname = any ($1)
     )
     select 1 as place, o.role, pg_catalog.format('%srevoke all on %s from %s', o.head, o.kind, ${grantee}) as statement
     from ours o, pg_catalog.aclexplode(o.acl) a
     union
     select 2, o.role, pg_catalog.format('%sgrant all on %s to %s', o.head, o.kind, ${grantee})
     from ours o, pg_catalog.aclexplode(o.usual) a
     order by place, role, statement`,
    [nexusRoles],
  );
  for (const { role, statement } of rows) {
    await client.query("savepoint one");
    await client
      .query(`set local role ${role}; ${statement}`)
      .catch(() => client.query("rollback to one"));
    await client.query("reset role");
  }
}

const grantee = "case a.grantee when 0 then 'public' else a.grantee::regrole::text end";

/** What somebody granted by hand, as far as the login may. */
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
