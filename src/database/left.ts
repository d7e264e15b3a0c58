/**
 * What is left of us outside of our schemas, by the catalogue alone: as statements that take it away, each with
 * the role that may run it.
 */
import type { Client } from "pg";
import { triggerTables } from "./pos.ts";
import { nexusRoles } from "./roles.ts";

/** What our roles were given; `by` the role that granted it, which alone may take it away. */
export type Grant = { kind: string; object: string; role: string; by: string };
export type Statement = { statement: string; by: string };

export type Left = {
  /** Nothing may be left of these. */
  ours: Statement[];
  /** Given to logins that worked for us; they may need it for something else. */
  ofLogins: Statement[];
  /** Of these logins those that own nothing. */
  logins: string[];
};

/** What our roles were given in this database outside of our schemas, by whomever. */
export async function readGrants(client: Client): Promise<Grant[]> {
  const { rows } = await client.query<Grant>(
    `select distinct g.kind, g.object, r.rolname as role, ${name("g.grantor")} as by
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
     order by 1 desc, 2, 3`,
    [nexusRoles],
  );
  return rows;
}

/** Our indexes on the POS's tables; `mayDrop` says of which the login may. */
export async function readIndexes(
  client: Client,
): Promise<{ name: string; by: string; mayDrop: boolean }[]> {
  const { rows } = await client.query<{ name: string; by: string; mayDrop: boolean }>(
    `select c.oid::regclass::text as name, ${name("c.relowner")} as by, pg_catalog.pg_has_role(c.relowner, 'usage') as "mayDrop"
     from pg_catalog.pg_class c
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('i', 'I') and c.relname like 'nexus\\_%'
     order by 1`,
  );
  return rows;
}

/** As a statement and a reader want it. */
export const nameOf = ({ kind, object }: Pick<Grant, "kind" | "object">) =>
  kind === "table" ? object : `${kind} ${object}`;

/** Few statements for what is alike. */
export function revocations(grants: Grant[]): Statement[] {
  const unique = (values: string[]) => [...new Set(values)].join(", ");
  return grouped(grants, ({ kind, by }) => JSON.stringify([kind, by])).map((alike) => {
    const [{ kind, by }] = alike as [Grant, ...Grant[]];
    const objects = unique(alike.map(({ object }) => object));
    const roles = unique(alike.map(({ role }) => role));
    const what = nameOf({ kind, object: objects });
    return { statement: `revoke all on ${what} from ${roles};`, by };
  });
}

/** Statements of one role in a block of lines. */
export function byRole(statements: Statement[]): { by: string; lines: string }[] {
  return grouped(statements, ({ by }) => by).map((alike) => ({
    by: alike[0]?.by ?? "",
    lines: alike.map(({ statement }) => `\n  ${statement}`).join(""),
  }));
}

function grouped<T>(values: T[], key: (value: T) => string): T[][] {
  const keys = [...new Set(values.map(key))];
  return keys.map((one) => values.filter((value) => key(value) === one));
}

/** `known`: logins that were members of our roles before those were dropped. */
export async function readLeft(client: Client, known: string[] = []): Promise<Left> {
  const indexes = (await readIndexes(client)).map(({ name, by }) => ({
    statement: `drop index ${name};`,
    by,
  }));
  const { rows: onDatabase } = await client.query<Grant>(
    `select distinct 'database' as kind, pg_catalog.quote_ident(d.datname) as object, r.rolname as role, ${name("a.grantor")} as by
     from pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a
     join pg_catalog.pg_roles r on r.oid = a.grantee and r.rolname = any ($1)
     where d.datname = current_database() order by 3`,
    [nexusRoles],
  );
  const grants = [...(await readGrants(client)), ...onDatabase];
  const ofLogins = await client.query<Statement>(
    `${theLogins}, given as (
       select 1 as place, c.oid::regclass::text as object, a.grantee, a.grantor, a.privilege_type as privilege
       from pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
       where c.relnamespace = 'public'::regnamespace and c.relname = any ($3)
         and a.privilege_type = 'TRIGGER' and a.grantee <> c.relowner
       union all
       select 2, 'database ' || pg_catalog.quote_ident(d.datname), a.grantee, a.grantor, a.privilege_type
       from pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a
       where d.datname = current_database() and a.privilege_type in ('CREATE', 'CONNECT') and a.grantee <> d.datdba
     )
     select pg_catalog.format('revoke %s on %s from %s;', lower(g.privilege), string_agg(distinct g.object, ', '), quote_ident(l.name)) as statement,
       ${name("g.grantor")} as by
     from given g join login l on l.oid = g.grantee
     group by g.place, g.privilege, l.name, g.grantor order by g.place, l.name, g.privilege desc`,
    [nexusRoles, known, triggerTables],
  );
  return {
    ours: [...indexes, ...revocations(grants)],
    ofLogins: ofLogins.rows,
    logins: await readLogins(client, known),
  };
}

/** Logins of ours that own nothing in any database. */
export async function readLogins(client: Client, known: string[] = []): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `${theLogins}
     select l.name from login l
     where l.can_login and not exists (
       select from pg_catalog.pg_shdepend s
       where s.refclassid = 'pg_catalog.pg_authid'::regclass and s.refobjid = l.oid and s.deptype = 'o')
     order by 1`,
    [nexusRoles, known, triggerTables],
  );
  return rows.map(({ name }) => name);
}

/**
 * Members of our roles; after those were dropped, what has a name like those of npm run attach -- --grants, and this
 * login, where it may make triggers on the POS's tables and no rows.
 */
const theLogins = `with login as (
  select r.oid, r.rolname as name, r.rolcanlogin as can_login
  from pg_catalog.pg_roles r
  where not r.rolsuper and r.rolname <> all ($1) and (
    r.rolname like 'nexus\\_%' or r.rolname = any ($2)
    or exists (
      select from pg_catalog.pg_auth_members m join pg_catalog.pg_roles o on o.oid = m.roleid
      where m.member = r.oid and o.rolname = any ($1))
    or r.rolname = session_user and exists (
      select from pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
      where c.relnamespace = 'public'::regnamespace and c.relname = any ($3) and a.grantee = r.oid
        and a.privilege_type = 'TRIGGER' and not pg_catalog.has_table_privilege(r.oid, c.oid, 'insert')))
)`;

/** Of a role, by which one can connect. */
function name(role: string): string {
  return `case when pg_catalog.pg_get_userbyid(${role}) <> 'pg_database_owner' then pg_catalog.pg_get_userbyid(${role})::text
    else (select pg_catalog.pg_get_userbyid(own.datdba)::text from pg_catalog.pg_database own where own.datname = current_database()) end`;
}
