import { codeOf, sqlState } from "./away.ts";
import { describeAddress } from "./hosts.ts";

/** Where a connection really went, with nothing that is secret. */
type Target = {
  host: string;
  port: number;
  user?: string | undefined;
  database?: string | undefined;
};

/** How client.ts says it of several hosts, with the refusal of each. */
export const noPrimary = "None of the hosts is a primary that takes writes";

const targets = new WeakMap<object, Target>();

/** Remembers where the connection went that failed with this error; returns the error. */
export function noteTarget(error: unknown, { host, port, user, database }: Target): unknown {
  if (error instanceof Error) targets.set(error, { host, port, user, database });
  return error;
}

/**
 * Why a start failed and what to do, in a sentence or two without any secret; undefined when this is
 * none of the failures that are known.
 */
export function explainFailure(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const target = targetOf(error);
  // Ours stands for another, see client.ts.
  const given = sqlState(error) ?? "";
  const code = (given === "08001" && sqlState(error.cause)) || given;
  const at = target ? `Postgres at ${describeAddress(target)}` : "Postgres";
  const login = target?.user ? `the login "${target.user}"` : "the login";
  if (error.message.startsWith(noPrimary)) {
    return `${error.message}: check the hosts in the URL, or wait until one has been promoted.`;
  }
  const explained = target
    ? (atStartup(code, at, login, target, messagesOf(error)) ?? onTheWay(code, at, target, error))
    : onThisMachine(code, error);
  return explained ?? onTheServer(code, at);
}

function targetOf(error: unknown): Target | undefined {
  if (!(error instanceof Error)) return undefined;
  return targets.get(error) ?? targetOf(error.cause);
}

function messagesOf(error: Error): string {
  const causes = error instanceof AggregateError ? error.errors : [error.cause];
  return [
    error.message,
    ...causes.map((cause) => (cause instanceof Error ? messagesOf(cause) : "")),
  ].join("\n");
}

/** What Postgres, or a pooler, answers to who wants to connect. */
function atStartup(
  code: string,
  at: string,
  login: string,
  { database }: Target,
  message: string,
): string | undefined {
  if (code === "28P01" || /no password supplied|must be a string/.test(message)) {
    return `${at} does not take the password of ${login}: check user and password in the URL, in which / # ? @ and % have to be percent-encoded (%2F %23 %3F %40 %25).`;
  }
  if (code === "28000" && /no pg_hba\.conf entry/.test(message)) {
    return /no encryption|SSL off/.test(message)
      ? `${at} takes ${login} for database "${database}" only with SSL, or not at all from here: add ?sslmode=verify-full to the URL (see sslmode in src/README.md), else allow it in pg_hba.conf.`
      : `${at} takes ${login} for database "${database}" not from here: allow it in pg_hba.conf.`;
  }
  if (code === "28000") {
    return `${at} does not take ${login}: there is none of that name, or it may not log in. Check the user in the URL.`;
  }
  if (code === "3D000") {
    return `${at} has no database "${database}": check the name after the last / of the URL.`;
  }
  if (code === "53300") {
    return `${at} has no connection left for ${login}: end some, raise max_connections, or set a smaller WORKER_CONCURRENCY.`;
  }
  if (code === "57P03")
    return `${at} starts, stops or recovers: start again when it takes connections.`;
  if (code === "08P01" && /unsupported startup parameter/.test(message)) {
    return `PgBouncer stands at this address (${at.replace("Postgres at ", "")}): add ?pgbouncer=true to WORKER_DATABASE_URL or SERVER_DATABASE_URL, and have DATABASE_URL lead straight to Postgres.`;
  }
  if (code === "42501" && /set role/.test(message)) {
    return `${at} does not let ${login} act for the engine: use a login that is a member of nexus_worker (WORKER_DATABASE_URL) or nexus_server (SERVER_DATABASE_URL).`;
  }
  if (code === "42501")
    return `${at} does not let ${login} connect to database "${database}": grant it CONNECT.`;
  return undefined;
}

/** What the network and TLS say. */
function onTheWay(code: string, at: string, target: Target, error: Error): string | undefined {
  const message = messagesOf(error);
  const { host } = target;
  const socket = host.startsWith("/");
  switch (code) {
    case "ECONNREFUSED":
      return `Nobody listens at ${describeAddress(target)}: check host and port in the URL, and whether Postgres runs and listens there.`;
    case "ENOENT":
      return socket
        ? `There is no socket ${describeAddress(target)}: check ?host= and ?port= in the URL, and whether Postgres runs.`
        : undefined;
    case "EACCES":
      return socket ? `This user may not open the socket ${describeAddress(target)}.` : undefined;
    case "ENOTFOUND":
    case "EAI_AGAIN":
    case "EAI_NODATA":
      return `No host has the name "${host}": check the host in the URL and the name service.`;
    case "EHOSTUNREACH":
    case "ENETUNREACH":
    case "EHOSTDOWN":
    case "ENETDOWN":
    case "ETIMEDOUT":
      return `There is no way to ${describeAddress(target)}: check host and port in the URL, the network and firewalls.`;
    case "CERT_HAS_EXPIRED":
      return `The certificate of ${at} has expired: renew it on the server.`;
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return `The certificate of ${at} is made for another name than "${host}": connect by that name (see sslmode in src/README.md).`;
  }
  if (/timeout e|connection timeout/.test(message)) {
    return `${at} does not answer within 10 seconds: check host and port in the URL, the network and firewalls.`;
  }
  if (/does not support SSL/.test(message)) {
    return `${at} does not offer SSL, which the URL asks for: switch it on there, or on a network that you trust take sslmode out of the URL.`;
  }
  if (/SELF_SIGNED|UNABLE_TO_|CERT_/.test(code)) {
    return `The certificate of ${at} is signed by nobody whom this machine knows: give its authority by &sslrootcert=FILE (see sslmode in src/README.md).`;
  }
  if (/^(ERR_SSL|EPROTO)/.test(code)) return `${at} and we do not agree on TLS (${code}).`;
  if (["ECONNRESET", "EPIPE"].includes(code) || /Connection terminated/.test(message)) {
    return `${at} closed the connection at once: check that it is Postgres which listens there, and its log.`;
  }
  return undefined;
}

/** What Postgres answers to a statement, or to a connection that was had already. */
function onTheServer(code: string, at: string): string | undefined {
  if (code === "25006") {
    return `${at} takes no writes, it is a standby: have the URL lead to the primary, or name all hosts (postgres://host1,host2/database).`;
  }
  if (code === "53100") return `${at} has no room left on its disk: make some, and start again.`;
  if (code === "53200") return `${at} is out of memory: give it more, and start again.`;
  if (code.startsWith("57P"))
    return `${at} is shutting down: start again when it takes connections.`;
  return undefined;
}

/** Our own port and files. */
function onThisMachine(code: string, error: Error): string | undefined {
  const { syscall, path, address, port } = error as NodeJS.ErrnoException & {
    address?: string;
    port?: number;
  };
  const listening = syscall === "listen" || syscall === "getaddrinfo";
  if (code === "EADDRINUSE") {
    return `Something listens on port ${port} of ${address} already: end it, or set another PORT.`;
  }
  if (listening && code === "EACCES") {
    return `This user may not listen on port ${port}: set a PORT of 1024 or more.`;
  }
  if (listening) return `HOST is no address of this machine: set 127.0.0.1, 0.0.0.0 or its own.`;
  if (code === "ENOSPC" || code === "EDQUOT" || error.message === "database or disk is full") {
    return `There is no room left on the disk of ${path ?? "DATA_DIR"}: make some, and start again.`;
  }
  if (path !== undefined && ["EACCES", "EPERM", "EROFS"].includes(code)) {
    return `This user may not write to ${path}: set DATA_DIR to a folder that it owns.`;
  }
  if (path !== undefined && ["ENOTDIR", "EEXIST"].includes(code)) {
    return `${path} is a file, or lies in one: set DATA_DIR to a folder.`;
  }
  if (code === "ENOENT" && path !== undefined && syscall === "open") {
    return `There is no file ${path}: check sslrootcert, sslcert and sslkey in the URL.`;
  }
  return codeOf(error)?.startsWith("ERR_PARSE_ARGS") ? error.message : undefined;
}
