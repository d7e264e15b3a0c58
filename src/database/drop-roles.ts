/** Our roles are the cluster's: the last database that uses them takes them along. */
import type { Client } from "pg";
import { dependentObjects, insufficientPrivilege, sqlState } from "./away.ts";
import type { Say } from "./steps.ts";

export type OtherDatabase = { name: string; hasEngine: boolean; owners: string[] };

/** Where our roles own something, or have rights; and whose it is that they have rights on. */
export async function otherDatabases(client: Client, roles: string[]): Promise<OtherDatabase[]> {
  const { rows } = await client.query<OtherDatabase>(
    `select d.datname as name, bool_or(s.deptype = 'o' and s.classid = 'pg_catalog.pg_namespace'::regclass) as "hasEngine",
       -- Postgres notes nothing of what the superuser owns that the cluster was made with.
       coalesce(array_agg(distinct pg_catalog.pg_get_userbyid(coalesce(o.refobjid, 10))::text)
         filter (where s.deptype <> 'o'), '{}') as owners
     from pg_catalog.pg_shdepend s
     join pg_catalog.pg_roles r on r.oid = s.refobjid and r.rolname = any ($1)
     join pg_catalog.pg_database d on d.oid = s.dbid
     left join pg_catalog.pg_shdepend o on o.dbid = s.dbid and o.classid = s.classid and o.objid = s.objid
       and o.deptype = 'o' and o.refclassid = s.refclassid
     where s.refclassid = 'pg_catalog.pg_authid'::regclass and d.datname <> current_database()
     group by d.datname order by d.datname`,
    [roles],
  );
  return rows;
}

/** What keeps the roles, as sentences. */
function describeNeed(others: OtherDatabase[]): string {
  const inUse = others.filter((other) => other.hasEngine).map(({ name }) => `"${name}"`);
  const sentences = others
    .filter((other) => !other.hasEngine)
    .map(({ name, owners }) => {
      const who = owners.map((owner) => `"${owner}"`).join(", ") || "a superuser";
      return `In "${name}" the engine is gone, but rights are left that only ${who} may take away: connect there as ${owners.length > 1 ? "each of them" : "that role"}, and run npm run detach -- --all.`;
    });
  if (inUse.length > 0) {
    sentences.unshift(
      `They are needed by ${inUse.join(", ")}: remove the engine there as well, and they go with the last one.`,
    );
  }
  return sentences.join(" ");
}

/** Roles are the cluster's: they stay while another database of it uses them. */
export async function dropRoles(
  client: Client,
  roles: string[],
  others: OtherDatabase[],
  say: Say,
): Promise<boolean> {
  const list = roles.join(", ");
  if (roles.length === 0) {
    say("There are no roles of ours in this cluster.");
    return true;
  }
  if (others.length > 0) {
    say(
      `Kept the roles ${list} with their members: they are the cluster's. ${describeNeed(others)}`,
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
