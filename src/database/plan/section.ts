import type { Client } from "pg";
import { sqlState } from "../away.ts";

/**
 * What the plan says of one thing.
 *   fact  is so, or will be
 *   note  is worth knowing, or mending, and keeps nobody from attaching
 *   must  has to be done before
 *   blind could not be looked at
 */
export type Finding = {
  kind: "fact" | "note" | "must" | "blind";
  text: string;
  /** To be pasted. */
  sql?: string;
};

export type Section = { title: string; findings: Finding[] };

export const fact = (text: string): Finding => ({ kind: "fact", text });
export const note = (text: string, sql?: string): Finding => ({
  kind: "note",
  text,
  ...(sql && { sql }),
});
export const must = (text: string, sql?: string): Finding => ({
  kind: "must",
  text,
  ...(sql && { sql }),
});
export const blind = (text: string): Finding => ({ kind: "blind", text });

/** How long the plan looks at one thing: it must not be a burden to a database at work. */
const lookForMs = 10_000;
/** For a lock that only who alters a table keeps from us: behind us his successors would wait. */
const waitForMs = 1_000;

/**
 * Looks at something, for which these tables of public have to be read; says why where that is not possible. In
 * a savepoint, so that the rest of the plan goes on.
 */
export async function look(
  client: Client,
  what: string,
  tables: string[],
  work: () => Promise<Finding[]>,
): Promise<Finding[]> {
  const { rows } = await client.query<{ name: string }>(
    `select c.relname as name from pg_catalog.pg_class c
     where c.relnamespace = 'public'::regnamespace and c.relname = any ($1)
       and not (pg_catalog.has_table_privilege(c.oid, 'select') and pg_catalog.has_schema_privilege(c.relnamespace, 'usage'))
     order by 1`,
    [tables],
  );
  if (rows.length > 0) {
    const names = rows.map(({ name }) => `public.${name}`).join(", ");
    return [blind(`Could not look at ${what}: this login lacks SELECT on ${names}.`)];
  }
  await client.query(
    `savepoint look; set local statement_timeout = ${lookForMs}; set local lock_timeout = ${waitForMs}`,
  );
  try {
    return await work();
  } catch (error) {
    return [blind(`Could not look at ${what}: ${whyNot(error)}`)];
  } finally {
    // Gives the locks back, for which a migration of the POS may wait.
    await client.query("rollback to look; release look");
  }
}

function whyNot(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  switch (sqlState(error)) {
    case "57014":
      return `it would take longer than ${lookForMs / 1000} s.`;
    case "55P03":
      return "another session keeps it locked.";
    case "42501":
      return /row-level security/.test(message)
        ? "row level security would hide rows from this login."
        : `${message}.`;
    case "42P01":
    case "42703":
      return "a table or column is missing, see above.";
    default:
      return `${message}.`;
  }
}

/** 1234567 as 1,234,567. */
export function count(n: number | string): string {
  return Number(n).toLocaleString("en-US");
}

export function plural(n: number | string, one: string, many = `${one}s`): string {
  return `${count(n)} ${Number(n) === 1 ? one : many}`;
}

export function bytes(n: number | string): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let value = Number(n);
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${value >= 10 ? Math.round(value) : Math.round(value * 10) / 10} ${units[unit]}`;
}

export function seconds(s: number): string {
  if (s < 1) return "under a second";
  if (s < 90) return `about ${Math.round(s)} s`;
  if (s < 90 * 60) return `about ${Math.round(s / 60)} min`;
  return `about ${Math.round(s / 360) / 10} h`;
}
