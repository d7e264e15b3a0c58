import { Client } from "pg";
import type { TestDatabase } from "../support/database.ts";

/** A connection of this login, whose password is its name. */
export async function connectAs(db: TestDatabase, login: string): Promise<Client> {
  const url = new URL(db.url);
  url.username = login;
  url.password = login;
  const client = new Client({ connectionString: url.toString() });
  await client.connect();
  return client;
}
