import { Client, type ClientConfig } from "pg";
import { sqlState } from "./away.ts";
import { describeAddress, type Host, parseTarget, type Target } from "./hosts.ts";
import { type Query, transactionsOnly } from "./pooled.ts";
import {
  afterStartup,
  beginWithSettings,
  type DatabaseRole,
  marker,
  startupOptions,
} from "./session.ts";
import { noPrimary, noteTarget } from "./start-failure.ts";

/** How long a host may take to say whether it is the primary. */
const probeMs = 3_000;
/**
 * What Graphile Worker meets with waits of up to three minutes of its own: a worker would sleep on long
 * after the database is there again. Every other code it meets with the next poll.
 */
const patient = new Set(["57P03", "EHOSTUNREACH", "ETIMEDOUT"]);
/** SQLSTATE read_only_sql_transaction: this server is not the primary, or not any more. */
const readOnly = "25006";

/** By list of hosts: the one that was the primary last, and the connections that there are. */
const lastPrimary = new Map<string, Host>();
const live = new Map<string, Set<DatabaseClient>>();

type Connection = {
  stream: { destroy(): void };
  on(event: "errorMessage", listener: (message: { code?: string }) => void): void;
};
type OnConnect = (error?: Error | null) => void;
type Session = {
  role: string;
  version: number;
  read_only: string;
  replication: string;
  marker: string | null;
};

export type DatabaseClientConfig = ClientConfig & {
  connectionString: string;
  /** Who the connection acts as; absent: whoever logged in. */
  role?: DatabaseRole;
};

/** A connection that does not act as it was told to, and is therefore not used. */
export class SessionError extends Error {
  override name = "SessionError";
}

/**
 * The client of all our connections. Each of its sessions, or behind PgBouncer each of its
 * transactions, begins as session.ts says. It connects to the host that is the primary now; is of no
 * more use once its server has turned read-only, so that a pool replaces it; refuses to act as anybody
 * but the role that is wanted; and gives no statement a name where PgBouncer would not know it again.
 */
export class DatabaseClient extends Client {
  readonly #config: DatabaseClientConfig;
  readonly #target: Target;
  /** As server_version_num has it, once connected. */
  #version = 0;

  constructor(given: DatabaseClientConfig) {
    const target = parseTarget(given.connectionString);
    // PgBouncer hands no options on, and refuses most.
    const options = target.pooled ? {} : { options: startupOptions(target.options, given.role) };
    const config = { ...given, ...options };
    super({ ...config, connectionString: target.urlOf(target.hosts[0] as Host) });
    this.#config = config;
    this.#target = target;
    // Whoever waits for a query learns of it there; an idle connection that is lost is no fault.
    this.on("error", () => {});
    const { connection } = this as unknown as { connection: Connection };
    connection.on("errorMessage", ({ code }) => {
      // After the statement's own answer, which names the reason.
      if (code === readOnly) setImmediate(() => this.#cut());
    });
    if (!target.preparedStatements) this.#forgetNames();
    if (target.pooled) {
      const query = this.query.bind(this) as unknown as Query;
      const begin = () => beginWithSettings(given.role, this.#version);
      this.query = transactionsOnly(query, begin) as unknown as typeof this.query;
    }
  }

  override connect(): Promise<void>;
  override connect(callback: OnConnect): void;
  override connect(callback?: OnConnect): Promise<void> | undefined {
    const connected = this.#connect().catch((error: unknown) => {
      throw noteTarget(error, this);
    });
    if (!callback) return connected;
    connected.then(() => callback(), callback);
    return undefined;
  }

  async #connect(): Promise<void> {
    const { hosts } = this.#target;
    if (hosts.length > 1) {
      const { host, port } = await findPrimary(this.#target, this.#config);
      this.host = host;
      this.port = port;
      this.#leaveOtherHosts();
    }
    await super.connect().catch((error: unknown) => {
      throw patient.has(sqlState(error) ?? "") ? refused(error as Error) : error;
    });
    if (hosts.length > 1) this.#register();
    try {
      await this.#check();
    } catch (error) {
      this.#cut();
      throw error;
    }
  }

  #register(): void {
    const key = keyOf(this.#target);
    const all = live.get(key) ?? new Set();
    live.set(key, all.add(this));
    this.once("end", () => all.delete(this));
  }

  /**
   * Another host is the primary now. One that vanished without a word would answer no more, and TCP keeps
   * what is under way waiting for a quarter of an hour.
   */
  #leaveOtherHosts(): void {
    for (const client of live.get(keyOf(this.#target)) ?? []) {
      if (client.host !== this.host || client.port !== this.port) client.#cut();
    }
  }

  /** Whether the session is as it was told to be; then what it could not be told before. */
  async #check(): Promise<void> {
    const { rows } = await this.query<Session>(
      `select current_user as role, current_setting('server_version_num')::int as version,
         current_setting('transaction_read_only') as read_only,
         current_setting('session_replication_role') as replication,
         current_setting('${marker}', true) as marker`,
    );
    const is = rows[0];
    if (!is) throw new SessionError("the server does not say who we are");
    const address = describeAddress(this);
    if (this.#target.mustBeWritable && is.read_only === "on") {
      throw Object.assign(new Error(`${address} takes no writes`), { code: readOnly });
    }
    if (!this.#target.pooled && is.marker !== "on") {
      throw new SessionError(
        `Something before Postgres at ${address}, such as PgBouncer, does not hand on how our sessions begin: add ?pgbouncer=true to WORKER_DATABASE_URL or SERVER_DATABASE_URL, and have DATABASE_URL lead straight to Postgres.`,
      );
    }
    const { role = is.role } = this.#config;
    if (is.role !== role) {
      throw new SessionError(
        `Expected to act as ${role} at ${address}, got ${is.role}: use a login that is a member of ${role}.`,
      );
    }
    if (is.replication !== "origin") {
      throw new SessionError(
        `The login "${this.user}" at ${address} has session_replication_role = ${is.replication}, so that no trigger fires: take that setting away from the login or the database.`,
      );
    }
    this.#version = is.version;
    const rest = afterStartup(is.version);
    if (rest && !this.#target.pooled) await this.query(rest);
  }

  /** Ends it at once. The stream of now: TLS puts another one in the place of the first. */
  #cut(): void {
    (this as unknown as { connection: Connection }).connection.stream.destroy();
  }

  #forgetNames(): void {
    const query = this.query.bind(this) as (...args: unknown[]) => unknown;
    const unnamed = (config: unknown, ...rest: unknown[]) => {
      if (typeof config !== "object" || config === null || !("name" in config)) {
        return query(config, ...rest);
      }
      const { name: _, ...nameless } = config;
      return query(nameless, ...rest);
    };
    this.query = unnamed as typeof this.query;
  }
}

/** SQLSTATE sqlclient_unable_to_establish_sqlconnection. */
function refused(cause: Error): Error {
  return Object.assign(new Error(cause.message, { cause }), { code: "08001" });
}

/** The first host that takes writes, beginning with the one that did last. */
async function findPrimary(target: Target, config: ClientConfig): Promise<Host> {
  const key = keyOf(target);
  const known = lastPrimary.get(key);
  const order = known
    ? [known, ...target.hosts.filter((host) => named(host) !== named(known))]
    : target.hosts;
  const refusals: string[] = [];
  for (const host of order) {
    const refusal = await whyNotPrimary(target.urlOf(host), config);
    if (refusal === undefined) {
      lastPrimary.set(key, host);
      return host;
    }
    refusals.push(`${named(host)} (${refusal})`);
  }
  throw Object.assign(new Error(`${noPrimary}: ${refusals.join(", ")}`), {
    code: readOnly,
  });
}

async function whyNotPrimary(
  connectionString: string,
  config: ClientConfig,
): Promise<string | undefined> {
  const probe = new Client({ ...config, connectionString, connectionTimeoutMillis: probeMs });
  probe.on("error", () => {});
  const limit = setTimeout(() => probe.end(), probeMs);
  try {
    await probe.connect();
    const { rows } = await probe.query<{ transaction_read_only: string }>(
      "show transaction_read_only",
    );
    return rows[0]?.transaction_read_only === "off" ? undefined : "read-only";
  } catch (error) {
    return error instanceof Error
      ? error.message || String((error as NodeJS.ErrnoException).code)
      : String(error);
  } finally {
    clearTimeout(limit);
    probe.end().catch(() => {});
  }
}

function keyOf({ hosts }: Target): string {
  return hosts.map(named).join();
}

function named({ host, port }: Host): string {
  return `${host}:${port}`;
}

/**
 * One connection outside of the pools; to be ended by the caller. It searches no schema by itself: it has an owner's
 * rights, and would run what somebody put into public, where that is allowed.
 */
export async function connect(
  connectionString: string,
  name: string,
  config: ClientConfig = {},
): Promise<Client> {
  const client = new DatabaseClient({
    ...config,
    connectionString,
    application_name: name,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  });
  await client.connect();
  return client;
}
