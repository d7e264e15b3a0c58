/**
 * How each of our sessions begins, whatever ALTER DATABASE or ALTER ROLE ... SET, the URL or the
 * server's configuration say: what our SQL and node-postgres rely on. What only makes things faster
 * or slower is left to the operator.
 */

export type DatabaseRole = "nexus_worker" | "nexus_server" | "nexus_queue";

const settings: Record<string, string> = {
  // Where everybody may create in public, as in databases made before PostgreSQL 15, a function put
  // there could otherwise stand in for one of Postgres.
  search_path: "",
  // Counters and outboxes are written by many at once: each statement has to see what is committed.
  default_transaction_isolation: "read committed",
  default_transaction_read_only: "off",
  default_transaction_deferrable: "off",
  // We set our own where work is limited; sessions that listen or hold a lock are idle for days.
  statement_timeout: "0",
  lock_timeout: "0",
  idle_in_transaction_session_timeout: "0",
  idle_session_timeout: "0",
  // What node-postgres reads, and what of it reaches the API.
  TimeZone: "UTC",
  DateStyle: "ISO, MDY",
  IntervalStyle: "postgres",
  bytea_output: "hex",
  extra_float_digits: "1",
  client_min_messages: "notice",
  // What a statement means.
  standard_conforming_strings: "on",
  transform_null_equals: "off",
  array_nulls: "on",
  quote_all_identifiers: "off",
  "plpgsql.extra_errors": "none",
  exit_on_error: "off",
  // A policy on the POS's tables gives an error instead of rows that are not there.
  row_security: "off",
  jit: "off",
};

/** Those that older servers do not know, with the first version that does. */
const newer: { name: string; value: string; since: number }[] = [
  { name: "transaction_timeout", value: "0", since: 170_000 },
];

/** Reaches a session only with the others: not through a pooler that hands nothing on. */
export const marker = "nexus.session";

/**
 * The startup parameter `options`: the URL's own, which its provider may need, then ours. Postgres
 * takes the last of two.
 */
export function startupOptions(given: string | null, role: DatabaseRole | undefined): string {
  const all = { ...settings, [marker]: "on", ...(role && { role }) };
  const ours = Object.entries(all).map(
    ([name, value]) => `-c ${name}=${value.replaceAll(/[\s\\]/g, "\\$&")}`,
  );
  return [...(given ? [given] : []), ...ours].join(" ");
}

/** For a session that has begun with these options, what they could not say. */
export function afterStartup(version: number): string {
  return known(version)
    .map(({ name, value }) => `set ${name} = ${value}`)
    .join("; ");
}

/**
 * Begins a transaction with the same settings, for that transaction only: behind PgBouncer each may run
 * in another session, which others use as well.
 */
export function beginWithSettings(role: DatabaseRole | undefined, version: number): string {
  const local = Object.entries({ ...settings, ...(role && { role }) })
    .filter(([name]) => !name.startsWith("default_transaction_"))
    .map(([name, value]) => ({ name, value: `'${value}'` }));
  return [
    "begin isolation level read committed, read write, not deferrable",
    ...[...local, ...known(version)].map(({ name, value }) => `set local ${name} = ${value}`),
  ].join("; ");
}

function known(version: number) {
  return newer.filter(({ since }) => version >= since);
}
