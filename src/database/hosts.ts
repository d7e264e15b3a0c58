import { Client } from "pg";

/**
 * Connection strings, with what node-postgres does not know of them: several hosts, as libpq writes
 * them (postgres://u:p@h1:5432,h2:5433/db?target_session_attrs=read-write), and PgBouncer.
 */

export type Host = { host: string; port: number };

export type Target = {
  /** In the order in which they are tried; one, where the string names one. */
  hosts: Host[];
  /** The same connection string with one of the hosts, and without what we ask for ourselves. */
  urlOf(host: Host): string;
  /** The startup parameter `options` that the string asks for. */
  options: string | null;
  /** Whether only a server that takes writes will do: always, where there are several to choose from. */
  mustBeWritable: boolean;
  /** Whether PgBouncer stands between (?pgbouncer=true), whose transactions each get a server. */
  pooled: boolean;
  /** Whether statements may have names: not through a PgBouncer that does not follow them. */
  preparedStatements: boolean;
};

const defaultPort = 5432;
const form = /^(postgres(?:ql)?:\/\/)([^/?#]*)(.*)$/s;
const hostForm = /^(\[[0-9a-fA-F:.]+\]|[^:[\]]*)(?::(\d{1,5}))?$/;
const encodeIt =
  "percent-encode what is not a letter or a digit in its user and password: / as %2F, # as %23, ? as %3F, @ as %40, % as %25";
/** What node-postgres would take from the string, and what only we understand. */
const ourParameters = [
  "options",
  "statement_timeout",
  "lock_timeout",
  "idle_in_transaction_session_timeout",
  "query_timeout",
  "pgbouncer",
  "prepared_statements",
  "target_session_attrs",
];

/**
 * Throws an Error that says what was expected. It never shows a piece of the string: where its password
 * is not encoded, that may be any piece.
 */
export function parseTarget(connectionString: string): Target {
  const [, scheme, authority, rest] = form.exec(connectionString) ?? [];
  if (scheme === undefined || authority === undefined || rest === undefined) {
    throw new Error("expected a URL that starts with postgres:// or postgresql://");
  }
  if (rest.includes("@")) {
    throw new Error(
      `expected no @ after the host, so this URL is cut in the wrong place: ${encodeIt}`,
    );
  }
  if (!isDecodable(`${authority}${rest}`)) {
    throw new Error(`expected two hexadecimal digits after each %: ${encodeIt}`);
  }
  const at = authority.lastIndexOf("@") + 1;
  const hosts = authority.slice(at).split(",").map(parseHost);
  const [, path = "", query = ""] = /^([^?#]*)\??([^#]*)/.exec(rest) ?? [];
  const parameters = new URLSearchParams(query);
  for (const name of ["host", "port"]) {
    if (parameters.get(name)?.includes(",")) {
      throw new Error(`expected several hosts before the database's name, got them in ?${name}=`);
    }
  }
  if (hosts.length > 1 && hosts.some(({ host }) => host === "")) {
    throw new Error("expected a host's name between the commas, got nothing");
  }
  const pooled = flag(parameters, "pgbouncer");
  const theirs = query
    .split("&")
    .filter((pair) => !ourParameters.includes(pair.split("=", 1)[0] ?? ""));
  const tail = path + (theirs.join("") && `?${theirs.join("&")}`);
  return {
    hosts,
    options: parameters.get("options"),
    urlOf: ({ host, port }) =>
      hosts.length === 1
        ? `${scheme}${authority}${tail}`
        : `${scheme}${authority.slice(0, at)}${host.includes(":") ? `[${host}]` : host}:${port}${tail}`,
    mustBeWritable: wantsWritable(parameters) || hosts.length > 1,
    pooled,
    preparedStatements: !pooled || flag(parameters, "prepared_statements"),
  };
}

/** Where it really leads, by ?host= and a socket as well, without user and password. */
export function describeTarget(connectionString: string): string {
  const target = parseTarget(connectionString);
  return target.hosts
    .map((host) => describeAddress(new Client({ connectionString: target.urlOf(host) })))
    .join(", ");
}

/** As people write it; a socket by its file. */
export function describeAddress({ host, port }: Host): string {
  if (host.startsWith("/")) return `${host}/.s.PGSQL.${port}`;
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function parseHost(text: string): Host {
  const [, host, port] = hostForm.exec(text) ?? [];
  const number = port === undefined ? defaultPort : Number(port);
  if (host === undefined || number < 1 || number > 65_535) {
    throw new Error(
      `expected host or host:port between // or @ and the database's name: ${encodeIt}`,
    );
  }
  return { host: decodeURIComponent(host.replace(/^\[(.*)\]$/, "$1")), port: number };
}

/** Everything of ours writes: a string that asks for a standby, or for whichever, is a mistake. */
function wantsWritable(parameters: URLSearchParams): boolean {
  const wanted = parameters.get("target_session_attrs");
  if (wanted === null) return false;
  if (wanted === "read-write" || wanted === "primary") return true;
  throw new Error("target_session_attrs: expected read-write or primary, got something else");
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function flag(parameters: URLSearchParams, name: string): boolean {
  const value = parameters.get(name) ?? "false";
  if (value === "true" || value === "false") return value === "true";
  throw new Error(`${name}: expected true or false, got something else`);
}
