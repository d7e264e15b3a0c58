import type { Client } from "pg";
import { type Finding, fact, note } from "./section.ts";

/** Another login to plan for, and what it is, to be said. */
export type Instead = { login: string; what: string };

/**
 * Whom to plan for where this login could not attach by anything that it has: it is no member of the tables'
 * owner, nor of ours, and may make no trigger. The owner then, or who keeps a database that is attached.
 */
export async function loginInstead(client: Client): Promise<Instead | undefined> {
  const { rows } = await client.query<{ owner: string; keeper: string | null }>(
    `select pg_catalog.pg_get_userbyid(c.relowner) as owner,
       (select r.rolname from pg_catalog.pg_roles r, pg_catalog.pg_roles o
        where o.rolname = 'nexus_owner' and r.rolcanlogin and not r.rolsuper
          and pg_catalog.pg_has_role(r.oid, o.oid, 'member') and pg_catalog.has_table_privilege(r.oid, c.oid, 'trigger')
          and exists (select from pg_catalog.pg_namespace n where n.nspname = 'nexus_engine')
        order by r.oid = c.relowner desc, r.rolname limit 1)::text as keeper
     from pg_catalog.pg_class c, pg_catalog.pg_roles l
     where c.relnamespace = 'public'::regnamespace and c.relname = 'ventas' and c.relkind in ('r', 'p')
       and l.rolname = current_user and not l.rolsuper
       and not pg_catalog.pg_has_role(l.oid, c.relowner, 'member')
       and not pg_catalog.has_table_privilege(c.oid, 'trigger')
       and not exists (select from pg_catalog.pg_roles o
         where o.rolname = 'nexus_owner' and pg_catalog.pg_has_role(l.oid, o.oid, 'member'))`,
  );
  const [row] = rows;
  if (!row) return undefined;
  const { owner, keeper } = row;
  return keeper === null || keeper === owner
    ? { login: owner, what: `their owner, ${owner}` }
    : { login: keeper, what: `${keeper}, which has them` };
}

/** How many databases of the cluster are named at most. */
const most = 5;

/**
 * Roles are the cluster's: a member of nexus_owner has its rights in every attached database. Says so where
 * another one is attached and everybody may connect to one of them.
 */
export async function neighbours(client: Client): Promise<Finding[]> {
  const { rows } = await client.query<{ name: string; open: boolean }>(
    `select quote_ident(d.datname) as name, pg_catalog.has_database_privilege('public', d.oid, 'connect') as open
     from pg_catalog.pg_database d
     where exists (select from pg_catalog.pg_shdepend s join pg_catalog.pg_roles o on o.oid = s.refobjid
         where s.refclassid = 'pg_catalog.pg_authid'::regclass and o.rolname = 'nexus_owner' and s.dbid = d.oid)
       and d.datname <> current_database()
     union all
     select quote_ident(current_database()), pg_catalog.has_database_privilege('public', current_database(), 'connect')
     order by 1`,
  );
  const others = rows.length - 1;
  const open = rows.filter((row) => row.open).map(({ name }) => name);
  if (others === 0) return [];
  const which = `${others === 1 ? "Another database" : `${others} other databases`} of this cluster ${others === 1 ? "is" : "are"} attached too, and our roles are the cluster's: a member of nexus_owner reads every attached database that he may connect to.`;
  if (open.length === 0)
    return [fact(`${which} Only who was granted CONNECT may connect to them.`)];
  const more = open.length > most ? ` (${open.length - most} more likewise)` : "";
  return [
    note(
      `${which} Where the owners are not to read each other's, grant connect to the logins that need it and run, as a superuser or the owner of each${more}:`,
      open
        .slice(0, most)
        .map((name) => `revoke connect on database ${name} from public;`)
        .join("\n"),
    ),
  ];
}
