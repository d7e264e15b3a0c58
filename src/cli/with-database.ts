import type { Client } from "pg";
import { readConfig } from "../config.ts";
import { connect } from "../database/client.ts";
import { openDatabase } from "../database/open.ts";
import { createLog } from "../log.ts";

/**
 * Runs `work` on the database of DATABASE_URL as it is, or on the embedded one, which is started for it. It is
 * given the SECRET_KEY as well, or that which the embedded database keeps.
 */
export async function withDatabase<T>(
  name: string,
  work: (client: Client, secretKey: string | undefined) => Promise<T>,
  config = readConfig(process.env, { needsSecretKey: false }),
): Promise<T> {
  const embedded = config.databaseUrl ? undefined : await openDatabase(config, createLog("warn"));
  try {
    const client = await connect(embedded?.ownerUrl ?? (config.databaseUrl as string), name);
    const secretKey = embedded?.secretKey ?? config.secretKey;
    return await work(client, secretKey).finally(() => client.end());
  } finally {
    await embedded?.close();
  }
}
