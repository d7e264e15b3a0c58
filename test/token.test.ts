import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { verifyToken } from "../src/graphql/token.ts";
import { addLogins } from "./access/logins.ts";
import { createEmptyDatabase, createTestDatabase, type TestDatabase } from "./support/database.ts";
import { addStore, addUser } from "./support/fixtures.ts";

const secret = "ahora".repeat(8);

describe("npm run token", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  const run = (args: string[], env: Record<string, string> = {}) =>
    promisify(execFile)(process.execPath, ["src/token.ts", ...args], {
      cwd: `${import.meta.dirname}/..`,
      env: { PATH: process.env["PATH"], DATABASE_URL: db.url, SECRET_KEY: secret, ...env },
    }).catch((error) => ({ stdout: error.stdout as string, stderr: error.stderr as string }));
  const userOf = async (token: string) =>
    (await verifyToken(token.trim(), [new TextEncoder().encode(secret)])).userId;

  it("signs for an id without a database, and for an e-mail attaches nothing", async () => {
    const empty = await createEmptyDatabase();
    try {
      const id = crypto.randomUUID();
      const nobody = "postgres://nobody@127.0.0.1:1/pos";
      const { stdout } = await run(["--user-id", id.toUpperCase()], { DATABASE_URL: nobody });
      assert.equal(await userOf(stdout), id);
      assert.equal(await userOf((await run(["--user-id", id], { DATABASE_URL: "" })).stdout), id);

      const other = { DATABASE_URL: empty.url };
      await empty.pool.query("create table public.users (id uuid, email text)");
      await empty.pool.query("insert into public.users values ($1, 'a@b')", [id]);
      assert.equal(await userOf((await run(["--user", "a@b"], other)).stdout), id);
      assert.match((await run(["--user", "c@d"], other)).stderr, /^--user: no user of the POS/);
      const { rows } = await empty.pool.query(
        "select from pg_catalog.pg_namespace where nspname = 'nexus_engine'",
      );
      assert.equal(rows.length, 0);
      await empty.pool.query("drop table public.users");
      assert.match(
        (await run(["--user", "a@b"], other)).stderr,
        /^npm run token failed: relation "public.users" does not exist/,
      );
    } finally {
      await empty.drop();
    }
  });

  it("signs with the key of now, not with that of before", async () => {
    const [now, before] = ["ahora".repeat(8), "antes".repeat(8)];
    const email = "dueña@example.com";
    const user = await addUser(db.pool, await addStore(db.pool), { email });
    const { stdout } = await run(["--user", email, "--days", "2"], {
      SECRET_KEY: now,
      SECRET_KEY_PREVIOUS: before,
    });
    const verify = (key: string) => verifyToken(stdout.trim(), [new TextEncoder().encode(key)]);
    const { userId, expiresAt } = await verify(now);
    assert.equal(userId, user);
    assert.ok(Math.abs(expiresAt - Date.now() - 2 * 86_400_000) < 60_000);
    await assert.rejects(verify(before), {
      extensions: { code: "UNAUTHENTICATED", statusCode: 401 },
    });
  });

  it("says what to do where the login may not read the users", async () => {
    const logins = await addLogins(db);
    // Dropping the logins takes away the POS's schema: last.
    try {
      const url = new URL(db.url);
      [url.username, url.password] = [logins.jobs, logins.jobs];
      const { stderr } = await run(["--user", "a@b"], { DATABASE_URL: url.toString() });
      assert.match(
        stderr,
        /^The login "jobs_\w+" may not read the POS's users .*or give --user-id/,
      );
    } finally {
      await logins.drop();
    }
    assert.match((await run(["--user-id", "7"])).stderr, /^--user-id: expected a UUID, got 7/);
    assert.match((await run([])).stderr, /^Expected either --user .* or --user-id/);
  });
});
