import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Every role of ours. */
export const nexusRoles = [
  "nexus_owner",
  "nexus_worker",
  "nexus_server",
  "nexus_tienda",
  "nexus_ops",
  "nexus_queue",
];

const file = join(import.meta.dirname, "../../sql/engine/pos_rights.sql");

/** What our roles may do with the POS's tables, a statement each: nexus_engine.pos_grants(), wherever there is none yet. */
export const posGrants: string[] = [
  ...readFileSync(file, "utf8").matchAll(/^ +'(grant .+)',?$/gm),
].map(([, statement]) => statement as string);
