import type { Client } from "pg";
import { readConfig } from "../config.ts";
import { connect } from "../database/client.ts";
import { openDatabase } from "../database/open.ts";
import { createLog } from "../log.ts";

/** Runs `work` on the database of DATABASE_URL as it is, or on the embedded one, which is started for it. */
export async function withDatabase<T>(
  name: string,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const config = readConfig(process.env, { needsSecretKey: false });
  const embedded = config.databaseUrl ? undefined : await openDatabase(config, createLog("warn"));
  try {
    const client = await connect(embedded?.ownerUrl ?? (config.databaseUrl as string), name);
    return await work(client).finally(() => client.end());
  } finally {
    await embedded?.close();
  }
}
