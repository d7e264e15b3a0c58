import type { Client } from "pg";

/** Every role of ours. They are the cluster's. */
export const nexusRoles = [
  "nexus_owner",
  "nexus_worker",
  "nexus_server",
  "nexus_tienda",
  "nexus_ops",
  "nexus_queue",
];

/** Those of them that there are. */
export async function rolesThere(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ rolname: string }>(
    "select rolname from pg_catalog.pg_roles where rolname = any ($1) order by rolname",
    [nexusRoles],
  );
  return rows.map(({ rolname }) => rolname);
}
