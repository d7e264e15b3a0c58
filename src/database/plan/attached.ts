import type { Client } from "pg";

/** Whether all of ours is there: "unseen" where this login cannot tell. */
export type Attached = "no" | "yes" | "unseen";

/** Whether our objects and the rights of our roles are there, so that attaching would make none of them anew. */
export async function isWhole(client: Client): Promise<Attached> {
  const { rows } = await client.query<{ allowed: boolean | null }>(
    `select pg_catalog.has_schema_privilege(n.oid, 'usage')
       and pg_catalog.has_function_privilege(p.oid, 'execute') as allowed
     from pg_catalog.pg_namespace n
     left join pg_catalog.pg_proc p on p.pronamespace = n.oid and p.proname = 'missing_objects'
     where n.nspname = 'nexus_engine'`,
  );
  if (!rows[0]?.allowed) return rows[0]?.allowed === false ? "unseen" : "no";
  // In this order: the second is one of the objects.
  for (const missing of ["missing_objects", "missing_grants"]) {
    const { rowCount } = await client.query(`select from nexus_engine.${missing}() limit 1`);
    if (rowCount) return "no";
  }
  return "yes";
}
