import type { Client } from "pg";
import { posTables } from "./pos.ts";

/** The login of DATABASE_URL may not do what a start needs. */
export class RightsError extends Error {
  override name = "RightsError";
}

type Rights = {
  login: string;
  database: string;
  may_create_roles: boolean;
  may_create_schemas: boolean;
  may_create_in_public: boolean;
  /** Tables of the POS that belong to others. */
  foreign: { name: string; owner: string }[] | null;
};

/** Which right the login lacks of those that the README asks for, as a sentence. */
export async function explainRights(client: Client, error: unknown): Promise<string> {
  // What failed may have left a transaction behind.
  await client.query("rollback");
  const { rows } = await client.query<Rights>(
    `select current_user as login, current_database() as database,
       r.rolsuper or r.rolcreaterole as may_create_roles,
       has_database_privilege(current_database(), 'create') as may_create_schemas,
       has_schema_privilege('public', 'create') as may_create_in_public,
       (select json_agg(json_build_object('name', c.relname, 'owner', pg_get_userbyid(c.relowner)) order by c.relname)
        from pg_catalog.pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relname = any ($1)
          and not pg_has_role(c.relowner, 'usage')) as foreign
     from pg_catalog.pg_roles r where r.rolname = current_user`,
    [posTables],
  );
  const [rights] = rows;
  const [table] = rights?.foreign ?? [];
  const login = `The login "${rights?.login}" of DATABASE_URL`;
  if (table) {
    return `${login} does not own the POS's tables (public.${table.name} belongs to "${table.owner}"): connect as "${table.owner}", or as a member of it.`;
  }
  if (!rights?.may_create_roles) {
    return `${login} may not create roles, and ours are missing in this cluster: have a superuser give it CREATEROLE.`;
  }
  if (!rights.may_create_schemas) {
    return `${login} may not create schemas in database "${rights.database}": have its owner grant it CREATE on the database.`;
  }
  if (!rights.may_create_in_public) {
    return `${login} may not create our index on the POS's tables: have a superuser grant it CREATE on the schema public of "${rights.database}".`;
  }
  const message = error instanceof Error ? error.message : String(error);
  return `${login} lacks a right (${message}): where the roles nexus_* were made by another login of this cluster, have that one or a superuser grant them to it WITH ADMIN OPTION.`;
}
