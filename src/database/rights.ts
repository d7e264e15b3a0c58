import type { Client } from "pg";
import { parseTarget } from "./hosts.ts";
import { type Wanted, wantedRights } from "./rights-wanted.ts";

/** A right is missing of those that a start needs. */
export class RightsError extends Error {
  override name = "RightsError";
}

/** Who connects as what. */
export type Logins = {
  /** Migrates and attaches. */
  migration: string;
  /** Absent: that of the migration works for this half too, or it is not known. */
  worker?: string | undefined;
  server?: string | undefined;
  /** Whether that of the migration acts for the API, if only to listen. */
  migrationServes: boolean;
  /** Behind PgBouncer, which may know a login by another name. */
  pooled?: { worker: boolean; server: boolean };
};

/** By what the halves connect, of those that run: a URL that is absent means that of the migration. */
export type HalfLogins = {
  workerUrl?: string | undefined;
  serverUrl?: string | undefined;
  /** Whether the API runs: then the login of the migration acts for it where it has no URL. */
  serves?: boolean;
};

/** Statements that lack, and who may run them. */
export type Lacking = {
  section: Wanted["section"];
  statements: string[];
  by: string;
  /** What to know before pasting it. */
  remarks: string[];
};

const superuser = "a superuser";

/** Who logs in by these URLs; `current` by the first. */
export function loginsOf(
  current: string,
  { workerUrl, serverUrl, serves = false }: HalfLogins,
): Logins {
  const isPooled = (url: string | undefined) => Boolean(url && parseTarget(url).pooled);
  const pooled = { worker: isPooled(workerUrl), server: isPooled(serverUrl) };
  return {
    migration: knownToPostgres(current),
    worker: pooled.worker ? undefined : loginOf(workerUrl),
    server: pooled.server ? undefined : loginOf(serverUrl),
    migrationServes: serverUrl ? pooled.server : serves,
    pooled,
  };
}

function loginOf(url: string | undefined): string | undefined {
  const [, user] = /^[a-z]+:\/\/([^/?#:@]*)[^/?#@]*@/.exec(url ?? "") ?? [];
  return user ? knownToPostgres(decodeURIComponent(user)) : undefined;
}

/** A pooler for many customers wants the name of one after a dot, which Postgres does not see. */
function knownToPostgres(login: string): string {
  return login.replace(/\.[a-z0-9]{20}$/, "");
}

/**
 * Every right that lacks and that the login of the migration does not make itself, as statements to paste, in
 * an order in which they work. By the catalogue alone: any role may ask for any login, also one that is not there yet.
 */
export async function lackingRights(client: Client, logins: Logins): Promise<Lacking[]> {
  const { migration, worker = null, server = null, migrationServes } = logins;
  const { rows } = await client.query<Wanted>(await wantedRights(), [
    migration,
    worker,
    server,
    migrationServes,
  ]);
  const sections = (["roles", "rows", "database", "tables"] as const).map((section) => {
    const all = rows.filter((row) => row.section === section);
    const remarks = remarksOn(all, migration);
    return { section, statements: statementsOf(all), by: whoMay(section, all), remarks };
  });
  return sections.filter(({ statements }) => statements.length > 0);
}

/** Why BYPASSRLS is asked for and not just taken, by a login that may or may not. */
function remarksOn(rows: Wanted[], login: string): string[] {
  if (!rows.some(({ statement }) => / bypassrls$/.test(statement ?? ""))) return [];
  return [
    "bypassrls: row level security of the POS's tables would hide rows from these roles. It is not given",
    "unasked, as they then see the rows of all stores; nobody logs in as them.",
    ...(rows[0]?.may_bypass
      ? [`The login ${login} may run this part itself: that is a decision, not a matter of rights.`]
      : []),
  ];
}

type Grant = { privileges: string[]; tables: string[]; grantees: string[] };

/** What is granted on tables becomes few statements: one for all that is alike. */
function statementsOf(rows: Wanted[]): string[] {
  const whole = rows.flatMap(({ statement }) => (statement ? [statement] : []));
  const parts = rows
    .filter(({ statement }) => statement === null)
    .map(({ privilege, relation, grantee }) => ({
      privileges: [privilege ?? ""],
      tables: [`public.${relation}`],
      grantees: [grantee ?? ""],
    }));
  const grants = merged(merged(merged(parts, "privileges"), "tables"), "grantees").map(
    ({ privileges, tables, grantees }) =>
      `grant ${privileges.join(", ")} on ${tables.join(", ")} to ${grantees.join(", ")}`,
  );
  return [...whole, ...grants].map((statement) => `${statement};`);
}

/** Puts together the grants that differ in this only. */
function merged(grants: Grant[], what: keyof Grant): Grant[] {
  const groups = new Map<string, Grant>();
  for (const grant of grants) {
    const key = JSON.stringify({ ...grant, [what]: [] });
    const known = groups.get(key);
    groups.set(key, known ? { ...known, [what]: [...known[what], ...grant[what]] } : grant);
  }
  return [...groups.values()];
}

function whoMay(section: Wanted["section"], rows: Wanted[]): string {
  const owners = [...new Set(rows.flatMap(({ owner }) => (owner ? [owner] : [])))];
  const named = owners.join(" or ");
  switch (section) {
    case "roles":
      return whoMayMakeRoles(rows, named);
    case "rows":
      return `${superuser}; since PostgreSQL 16 also a role with CREATEROLE and BYPASSRLS that may grant these`;
    case "database":
      return `${superuser}, or the owner of the database (${named})`;
    case "tables":
      return `${superuser}, or the owner of the POS's tables (${named})`;
  }
}

function whoMayMakeRoles(rows: Wanted[], granters: string): string {
  const makes = (what: RegExp) => rows.some(({ statement }) => what.test(statement ?? ""));
  const attributes = makes(/ bypassrls$/) ? "CREATEROLE and BYPASSRLS" : "CREATEROLE";
  if (!rows[0]?.is_16)
    return `${superuser}${makes(/ bypassrls$/) ? "" : " or a role with CREATEROLE"}`;
  if (!makes(/^create role /)) {
    return superuser + (granters && `, or as ${granters}, which may grant the roles`);
  }
  return `${superuser}, or a role with ${attributes}${granters && ` that may grant those that are there (${granters})`}`;
}

/** The list as one script, each part under who may run it. */
export function asScript(lacking: Lacking[]): string {
  return lacking
    .map(({ statements, by, remarks }) =>
      [`-- as ${by}:`, ...remarks.map((line) => `-- ${line}`), ...statements].join("\n"),
    )
    .join("\n");
}

/**
 * Throws a RightsError with the whole list where the login lacks what a start needs. Not where rows are hidden
 * from our roles: the engine starts, says so and rests.
 */
export async function checkRights(client: Client, logins: Logins): Promise<void> {
  const lacking = (await lackingRights(client, logins)).filter(({ section }) => section !== "rows");
  if (lacking.length > 0) throw lackingError(logins.migration, lacking);
}

function lackingError(login: string, lacking: Lacking[], cause?: Error): RightsError {
  return new RightsError(
    `The login "${login}" of DATABASE_URL lacks rights. Have this run, in this order (it is all that lacks), then start again:\n\n${asScript(lacking)}\n`,
    { cause },
  );
}

/** What Postgres refused, with the list of all that lacks. */
export async function explainRights(
  client: Client,
  logins: Logins,
  error: Error,
): Promise<RightsError> {
  // What failed may have left a transaction behind.
  await client.query("rollback; reset role");
  const lacking = await lackingRights(client, logins);
  if (lacking.length > 0) return lackingError(logins.migration, lacking, error);
  return new RightsError(
    `The login "${logins.migration}" of DATABASE_URL was refused (${error.message}), though it has every right that we know of: see the log of Postgres, and ask who takes rights away from it (an event trigger, a policy of the service).`,
    { cause: error },
  );
}
