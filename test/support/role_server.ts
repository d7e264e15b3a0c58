import { Client } from "pg";
import { createPosSchema } from "../../src/database/pos.ts";
import { OwnServer } from "../outage/own_server.ts";

/** A server whose roles are the test's own to make and drop: those of the shared one are everybody's. */
export class RoleServer {
  readonly #url: string;
  readonly #own: OwnServer | undefined;

  private constructor(url: string, own?: OwnServer) {
    this.#url = url;
    this.#own = own;
  }

  /** NEXUS_ROLE_SERVER, the URL of a superuser, names another one; its roles nexus_* are dropped. */
  static async start(): Promise<RoleServer> {
    const given = process.env.NEXUS_ROLE_SERVER;
    if (given) return new RoleServer(given);
    const own = await OwnServer.start();
    return new RoleServer(own.url, own);
  }

  /** Whose password is his name; without one, the superuser's. */
  url(database: string, login?: string): string {
    const url = new URL(this.#url);
    url.pathname = `/${database}`;
    if (login) {
      url.username = login;
      url.password = login;
    }
    return url.toString();
  }

  /** The last statement's rows. */
  // biome-ignore lint/suspicious/noExplicitAny: the tests know what they asked for
  async sql(database: string, text: string, login?: string): Promise<any[]> {
    const client = new Client({ connectionString: this.url(database, login) });
    await client.connect();
    try {
      const results = await client.query(text);
      return (Array.isArray(results) ? results : [results]).at(-1)?.rows ?? [];
    } finally {
      await client.end();
    }
  }

  /** A database of this owner, with the POS's tables in it. */
  async createPos(database: string, owner: string): Promise<void> {
    await this.sql("postgres", `create database ${database} owner ${owner}`);
    const client = new Client({ connectionString: this.url(database, owner) });
    await client.connect();
    await createPosSchema(client).finally(() => client.end());
  }

  /** Without databases and roles of a test, and without ours. */
  async clear(databases: string[], roles: string[]): Promise<void> {
    for (const database of databases) {
      await this.sql("postgres", `drop database if exists ${database} with (force)`);
    }
    const ours = await this.sql(
      "postgres",
      "select rolname from pg_roles where rolname like 'nexus\\_%' order by rolname",
    );
    for (const role of [...ours.map(({ rolname }) => rolname), ...roles]) {
      await this.sql("postgres", `drop role if exists ${role}`);
    }
  }

  async destroy(): Promise<void> {
    await this.#own?.destroy();
  }
}
