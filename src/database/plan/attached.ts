import type { Client } from "pg";
import { posRights } from "../pos.ts";

/** Whether all of ours is there: "unseen" where this login cannot tell. */
export type Attached = "no" | "yes" | "unseen";

/** Whether what the catalogue alone can tell is there, and nothing of it would be made anew by attaching. */
export async function isWhole(client: Client): Promise<Attached> {
  const { rows } = await client.query<{ allowed: boolean | null }>(
    `select pg_catalog.has_schema_privilege(n.oid, 'usage')
       and pg_catalog.has_function_privilege(p.oid, 'execute') as allowed
     from pg_catalog.pg_namespace n
     left join pg_catalog.pg_proc p on p.pronamespace = n.oid and p.proname = 'missing_objects'
     where n.nspname = 'nexus_engine'`,
  );
  if (!rows[0]?.allowed) return rows[0]?.allowed === false ? "unseen" : "no";
  const { rowCount: missing } = await client.query(
    "select from nexus_engine.missing_objects() limit 1",
  );
  return !missing && (await grantsThere(client)) ? "yes" : "no";
}

/** What our roles need on the POS's tables: an owner who attaches would grant it without a word. */
async function grantsThere(client: Client): Promise<boolean> {
  const { rowCount } = await client.query(
    `select from (
${await posRights()}
) g (role, relation, privilege, columns)
     where not case when g.columns is null
       then pg_catalog.has_table_privilege(g.role::name, 'public.' || g.relation, g.privilege)
       else (select bool_and(pg_catalog.has_column_privilege(g.role::name, 'public.' || g.relation, c.name::text, g.privilege))
         from unnest(g.columns) c (name)) end
     limit 1`,
  );
  return rowCount === 0;
}
