/**
 * Connection strings, with what node-postgres does not know of them: several hosts, as libpq writes
 * them (postgres://u:p@h1:5432,h2:5433/db?target_session_attrs=read-write), and PgBouncer.
 */

export type Host = { host: string; port: number };

export type Target = {
  /** In the order in which they are tried; one, where the string names one. */
  hosts: Host[];
  /** The same connection string with one of the hosts. */
  urlOf(host: Host): string;
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

/** Throws an Error that says what was expected; it never shows the string, which has a password. */
export function parseTarget(connectionString: string): Target {
  const [, scheme, authority, rest] = form.exec(connectionString) ?? [];
  if (scheme === undefined || authority === undefined || rest === undefined) {
    throw new Error("expected a URL that starts with postgres:// or postgresql://");
  }
  const at = authority.lastIndexOf("@") + 1;
  const hosts = authority.slice(at).split(",").map(parseHost);
  const parameters = new URLSearchParams(rest.split("?", 2)[1] ?? "");
  for (const name of ["host", "port"]) {
    if (parameters.get(name)?.includes(",")) {
      throw new Error(`expected several hosts before the database's name, got them in ?${name}=`);
    }
  }
  if (hosts.length > 1 && hosts.some(({ host }) => host === "")) {
    throw new Error("expected a host's name between the commas, got nothing");
  }
  const pooled = flag(parameters, "pgbouncer");
  return {
    hosts,
    urlOf: ({ host, port }) =>
      hosts.length === 1
        ? connectionString
        : `${scheme}${authority.slice(0, at)}${host.includes(":") ? `[${host}]` : host}:${port}${rest}`,
    mustBeWritable: wantsWritable(parameters) || hosts.length > 1,
    pooled,
    preparedStatements: !pooled || flag(parameters, "prepared_statements"),
  };
}

/** Where it leads, without user and password. */
export function describeTarget(connectionString: string): string {
  return parseTarget(connectionString)
    .hosts.map(({ host, port }) => `${host || "localhost"}:${port}`)
    .join(", ");
}

function parseHost(text: string): Host {
  const [, host, port] = hostForm.exec(text) ?? [];
  const number = port === undefined ? defaultPort : Number(port);
  if (host === undefined || number < 1 || number > 65_535) {
    throw new Error(`expected host or host:port, got ${JSON.stringify(text)}`);
  }
  return { host: decodeURIComponent(host.replace(/^\[(.*)\]$/, "$1")), port: number };
}

/** Everything of ours writes: a string that asks for a standby, or for whichever, is a mistake. */
function wantsWritable(parameters: URLSearchParams): boolean {
  const wanted = parameters.get("target_session_attrs");
  if (wanted === null) return false;
  if (wanted === "read-write" || wanted === "primary") return true;
  throw new Error(`target_session_attrs: expected read-write or primary, got ${wanted}`);
}

function flag(parameters: URLSearchParams, name: string): boolean {
  const value = parameters.get(name) ?? "false";
  if (value === "true" || value === "false") return value === "true";
  throw new Error(`${name}: expected true or false, got ${value}`);
}
