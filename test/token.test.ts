import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { verifyToken } from "../src/graphql/token.ts";
import { createTestDatabase, type TestDatabase } from "./support/database.ts";
import { addStore, addUser } from "./support/fixtures.ts";

describe("npm run token", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  it("signs with the key of now, not with that of before", async () => {
    const [now, before] = ["ahora".repeat(8), "antes".repeat(8)];
    const email = "dueña@example.com";
    const user = await addUser(db.pool, await addStore(db.pool), { email });
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["src/token.ts", "--user", email, "--days", "2"],
      {
        cwd: `${import.meta.dirname}/..`,
        env: {
          PATH: process.env["PATH"],
          DATABASE_URL: db.url,
          SECRET_KEY: now,
          SECRET_KEY_PREVIOUS: before,
        },
      },
    );
    const verify = (key: string) => verifyToken(stdout.trim(), [new TextEncoder().encode(key)]);
    const { userId, expiresAt } = await verify(now);
    assert.equal(userId, user);
    assert.ok(Math.abs(expiresAt - Date.now() - 2 * 86_400_000) < 60_000);
    await assert.rejects(verify(before), {
      extensions: { code: "UNAUTHENTICATED", statusCode: 401 },
    });
  });
});
