import type { Client } from "pg";
import { sqlFile, sqlFilesOf } from "../migrate.ts";
import { lookAtIndex, posIndexes } from "../pos.ts";
import { nexusRoles } from "../roles.ts";
import { type Attached, isWhole } from "./attached.ts";
import { blind, type Finding, fact, note, type Section } from "./section.ts";

const schemas = ["nexus_engine", "nexus_api", "graphile_worker"];

type Ours = { section: Section; attached: Attached };

/** A finding, and whether attaching has something to do about it. */
type Part = { finding: Finding; isWork: boolean };

const settled = (finding: Finding): Part => ({ finding, isWork: false });
const toDo = (finding: Finding): Part => ({ finding, isWork: true });

/** What there is of ours, and what attaching would make. */
export async function oursSection(client: Client, login: string): Promise<Ours> {
  const parts = [
    await named(
      client,
      "Roles (nologin, of the whole cluster)",
      nexusRoles,
      "select rolname as name from pg_catalog.pg_roles",
    ),
    await named(client, "Schemas", schemas, "select nspname as name from pg_catalog.pg_namespace"),
    await files(client),
    ...(await detached(client)),
    ...(await triggers(client)),
    ...(await indexes(client, login)),
  ];
  const findings = parts.map(({ finding }) => finding);
  const attached = await attachedBy(client, parts);
  const title = attached === "no" ? "What will be made" : "What is there of ours";
  return { section: { title, findings }, attached };
}

async function attachedBy(client: Client, parts: Part[]): Promise<Attached> {
  if (parts.some(({ isWork }) => isWork)) return "no";
  if (parts.some(({ finding }) => finding.kind === "blind")) return "unseen";
  return isWhole(client);
}

async function named(client: Client, what: string, wanted: string[], sql: string): Promise<Part> {
  const { rows } = await client.query<{ name: string }>(
    `select name from (${sql}) n where name = any ($1)`,
    [wanted],
  );
  return there(
    what,
    wanted,
    rows.map(({ name }) => name),
  );
}

function there(what: string, wanted: string[], found: string[]): Part {
  const missing = wanted.filter((name) => !found.includes(name));
  if (missing.length === 0) return settled(fact(`${what}: all there (${wanted.join(", ")}).`));
  const rest = found.length > 0 ? ` There already: ${found.join(", ")}.` : "";
  return toDo(fact(`${what}: will be made: ${missing.join(", ")}.${rest}`));
}

/** Migrations that will run, and files of functions whose text changed since. */
async function files(client: Client): Promise<Part> {
  const { rows } = await client.query<{ readable: boolean | null }>(
    `select pg_catalog.has_table_privilege(c.oid, 'select') and pg_catalog.has_schema_privilege(c.relnamespace, 'usage') as readable
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'nexus_engine' and c.relname = 'migration'`,
  );
  const all = await sqlFilesOf(["migrations", "engine", "insights", "api"]);
  const migrations = all.filter(({ name }) => name.startsWith("migrations/"));
  const functions = all.filter((file) => !migrations.includes(file));
  if (rows[0] === undefined) {
    return toDo(
      fact(
        `In them: ${migrations.length} migrations (tables, types) and ${functions.length} files of functions and views, in one transaction.`,
      ),
    );
  }
  if (!rows[0].readable) {
    return settled(
      blind(
        "Could not look at which migrations ran: this login lacks SELECT on nexus_engine.migration.",
      ),
    );
  }
  const { rows: done } = await client.query<{ name: string; sha256: string }>(
    "select name, sha256 from nexus_engine.migration",
  );
  const known = new Map(done.map(({ name, sha256 }) => [name, sha256]));
  const newer = done.filter(
    ({ name }) => name.startsWith("migrations/") && !migrations.some((file) => file.name === name),
  );
  if (newer.length > 0) {
    // Of which nobody here can say that it is whole.
    return toDo(
      note(
        `A newer release has migrated this database (${newer.map(({ name }) => name).join(", ")}): its schemas are left as they are.`,
      ),
    );
  }
  const toRun = migrations.filter(({ name }) => !known.has(name));
  const toApply = functions.filter(({ name, sha256 }) => known.get(name) !== sha256);
  if (toRun.length + toApply.length === 0)
    return settled(fact("In them: every migration ran and every function is of this release."));
  const names = [...toRun, ...toApply].map(({ name }) => name);
  const shown =
    names.length > 12
      ? `${names.slice(0, 12).join(", ")} and ${names.length - 12} more`
      : names.join(", ");
  return toDo(
    fact(
      `An update: ${toRun.length} migrations to run, ${toApply.length} files of functions to apply again (${shown}).`,
    ),
  );
}

/** The note of nexus_engine.detach(). */
async function detached(client: Client): Promise<Part[]> {
  const { rows: readable } = await client.query(
    `select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'nexus_engine' and c.relname = 'detached'
       and pg_catalog.has_table_privilege(c.oid, 'select') and pg_catalog.has_schema_privilege(n.oid, 'usage')`,
  );
  if (readable.length === 0) return [];
  const { rows } = await client.query<{ since: Date }>("select since from nexus_engine.detached");
  return rows.map(({ since }) =>
    toDo(
      note(
        `detach() was called at ${since.toISOString()}: the engine rests. npm run attach puts back what it took away; a start alone does not.`,
      ),
    ),
  );
}

async function triggers(client: Client): Promise<Part[]> {
  const wanted = await wantedTriggers();
  const { rows } = await client.query<{ name: string; table: string }>(
    `select t.tgname as name, c.relname as table from pg_catalog.pg_trigger t
     join pg_catalog.pg_class c on c.oid = t.tgrelid
     where c.relnamespace = 'public'::regnamespace and t.tgname like 'nexus\\_%' and not t.tgisinternal and t.tgenabled = 'O'`,
  );
  return [...wanted].map(([table, names]) =>
    there(
      `Triggers on ${table}`,
      names,
      rows.filter((row) => row.table === table).map(({ name }) => name),
    ),
  );
}

/** By table, as the SQL of the engine lists them. */
export async function wantedTriggers(): Promise<Map<string, string[]>> {
  const { text } = await sqlFile("engine/triggers.sql");
  const wanted = new Map<string, string[]>();
  for (const [, name = "", table = ""] of text.matchAll(
    /\('(nexus_\w+)'[^']*'(?:public\.)?(\w+)'/g,
  )) {
    wanted.set(table, [...(wanted.get(table) ?? []), name]);
  }
  return wanted;
}

async function indexes(client: Client, login: string): Promise<Part[]> {
  const parts: Part[] = [];
  for (const { name, statement } of await posIndexes()) {
    const is = await lookAtIndex(client, name, login);
    const built = "built concurrently: that waits for older transactions, and nobody waits for it";
    if (is.there)
      parts.push(settled(fact(`Index ${name}: there, or another on the same columns.`)));
    else if (is.may) parts.push(toDo(fact(`Index ${name}: will be made, ${built}.`)));
    else {
      const left = `Index ${name}: ${login} may not make it. Reports are slower without; the owner of the POS's tables may make it at any time (${built}):`;
      parts.push(settled(note(left, `${statement};`)));
    }
  }
  return parts;
}
