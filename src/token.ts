import { parseArgs } from "node:util";
import { readConfig } from "./config.ts";
import { connect } from "./database/client.ts";
import { openDatabase } from "./database/open.ts";
import { signToken } from "./graphql/token.ts";
import { createLog } from "./log.ts";
import { exitWithError, UsageError } from "./process.ts";

const day = 24 * 60 * 60;

/** npm run token -- --user EMAIL [--days N]: prints a token as the POS signs it. */
async function main(): Promise<void> {
  const { values } = parseArgs({ options: { user: { type: "string" }, days: { type: "string" } } });
  const days = Number(values.days ?? 7);
  if (!values.user) throw new UsageError("--user: expected the e-mail of a user of the POS");
  if (!(days > 0 && days <= 365)) {
    throw new UsageError(`--days: expected a number from 1 to 365, got ${values.days}`);
  }
  const config = readConfig();
  const database = await openDatabase(config, createLog("warn"));
  try {
    const client = await connect(database.ownerUrl, "nexus-token");
    const { rows } = await client
      .query<{ id: string }>("select id from public.users where email = $1", [values.user])
      .finally(() => client.end());
    if (!rows[0]) throw new UsageError(`--user: no user of the POS has the e-mail ${values.user}`);
    const key = new TextEncoder().encode(database.secretKey);
    console.log(await signToken(rows[0].id, key, days * day, config.expectedClaims));
  } finally {
    await database.close();
  }
}

await main().catch(exitWithError);
