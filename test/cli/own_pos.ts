import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Client } from "pg";
import { connect } from "../../src/database/client.ts";
import { OwnServer } from "../outage/own_server.ts";
import { catalogue } from "./catalogue.ts";

const posSchema = join(import.meta.dirname, "../../sql/pos/schema.sql");

/** A cluster of the test's own, because roles are the cluster's, with POSs whose owners may create roles, no more. */
export class OwnPos {
  readonly superuser: Client;
  readonly #server: OwnServer;

  private constructor(server: OwnServer) {
    this.#server = server;
    this.superuser = new Client({ connectionString: server.url });
  }

  static async start(): Promise<OwnPos> {
    const pos = new OwnPos(await OwnServer.start());
    await pos.superuser.connect();
    return pos;
  }

  /** A database with the POS's tables, which belong to this login; it is made where there is none. */
  async add(database: string, owner = database): Promise<string> {
    if (owner === database) {
      await this.superuser.query(`create role ${owner} login createrole password '${owner}'`);
    }
    await this.superuser.query(`create database ${database} owner ${owner}`);
    const url = this.url(database, owner);
    const schema = await readFile(posSchema, "utf8");
    await this.as(url, (client) => client.query(schema));
    return url;
  }

  url(database: string, login?: string): string {
    const url = new URL(this.#server.url);
    url.pathname = `/${database}`;
    // Its password is its name.
    if (login) [url.username, url.password] = [login, login];
    return url.toString();
  }

  async as<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
    const client = await connect(url, "pos");
    return work(client).finally(() => client.end());
  }

  /** All there is in this database and its cluster. */
  catalogue(database: string): Promise<string[]> {
    return this.as(this.url(database), catalogue);
  }

  async destroy(): Promise<void> {
    await this.superuser.end();
    await this.#server.destroy();
  }
}
