import type { Client } from "pg";
import { readArguments } from "./cli/arguments.ts";
import { withDatabase } from "./cli/with-database.ts";
import { type Config, readConfig } from "./config.ts";
import { insufficientPrivilege, sqlState } from "./database/away.ts";
import { signToken } from "./graphql/token.ts";
import { exitWithErrorOf, UsageError } from "./process.ts";

const usage = `npm run token -- --user EMAIL | --user-id UUID [--days N]

Prints a token as the POS signs it: of one of its users, by SECRET_KEY. Changes nothing.

  --user EMAIL    looks for the user in the POS's users, at DATABASE_URL or in the embedded database; that login has
                  to be allowed to read them
  --user-id UUID  the id of the user (users.id), who is not looked for: with SECRET_KEY no database is needed
  --days N        how long it is valid (default: 7, at most 365)
  --help          this text
`;

const day = 24 * 60 * 60;
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

type Signer = { id: string; secretKey: string };

async function main(): Promise<void> {
  const {
    user,
    "user-id": id,
    days: givenDays,
  } = readArguments(usage, {
    user: { type: "string" },
    "user-id": { type: "string" },
    days: { type: "string" },
  });
  const days = Number(givenDays ?? 7);
  if (!user === !id) {
    throw new UsageError(
      "Expected either --user with the e-mail of a user of the POS, or --user-id with the id.",
    );
  }
  if (id && !uuid.test(id)) throw new UsageError(`--user-id: expected a UUID, got ${id}`);
  if (!(days > 0 && days <= 365)) {
    throw new UsageError(`--days: expected a number from 1 to 365, got ${givenDays}`);
  }
  const config = readConfig();
  const signer = await findSigner(config, user, id?.toLowerCase());
  const key = new TextEncoder().encode(signer.secretKey);
  console.log(await signToken(signer.id, key, days * day, config.expectedClaims));
}

/** Whose token it is, and what it is signed with; the embedded database keeps a key of its own. */
async function findSigner(config: Config, email?: string, id?: string): Promise<Signer> {
  if (id && config.secretKey) return { id, secretKey: config.secretKey };
  return withDatabase(
    "nexus-token",
    async (client, secretKey) => {
      const found = id ?? (await findUser(client, email as string));
      return { id: found, secretKey: secretKey as string };
    },
    config,
  );
}

async function findUser(client: Client, email: string): Promise<string> {
  const { rows } = await client
    .query<{ id: string }>("select id from public.users where email = $1", [email])
    .catch((error: unknown) => {
      if (sqlState(error) !== insufficientPrivilege) throw error;
      throw new UsageError(
        `The login "${client.user}" may not read the POS's users (${(error as Error).message}): set DATABASE_URL to the POS's own login, or give --user-id with users.id.`,
      );
    });
  if (!rows[0]) throw new UsageError(`--user: no user of the POS has the e-mail ${email}`);
  return rows[0].id;
}

await main().catch(exitWithErrorOf("npm run token"));
