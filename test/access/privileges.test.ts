import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { privilegeMatrix } from "./matrix.ts";

const file = join(import.meta.dirname, "privileges.txt");
const heading = `# Who may do what, one line an object: kind name: role=privileges …
# What public has everybody has, and is not said again. anyone is a login without any membership.
# Checked by privileges.test.ts; UPDATE_PRIVILEGES=1 writes it anew.
`;

describe("the privileges of every role", () => {
  let db: TestDatabase;
  const stranger = `stranger_${randomUUID().slice(0, 8)}`;
  before(async () => {
    db = await createTestDatabase();
    await db.pool.query(`create role ${stranger} login`);
  });
  after(async () => {
    await db.pool.query(`drop role ${stranger}`);
    await db.drop();
  });

  it("are the committed ones", async () => {
    const lines = await privilegeMatrix(db.pool, stranger);
    if (process.env["UPDATE_PRIVILEGES"] === "1") {
      await writeFile(file, `${heading}${lines.join("\n")}\n`);
    }
    const committed = (await readFile(file, "utf8"))
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"));
    const difference = [
      ...committed.filter((line) => !lines.includes(line)).map((line) => `- ${line}`),
      ...lines.filter((line) => !committed.includes(line)).map((line) => `+ ${line}`),
    ].sort((a, b) => a.slice(2).localeCompare(b.slice(2)));
    assert.equal(
      difference.join("\n"),
      "",
      `Not as in test/access/privileges.txt:\n${difference.join("\n")}\nIf that is meant, run the test with UPDATE_PRIVILEGES=1 and commit the file.`,
    );
    assert.deepEqual(committed, lines, "the file is not sorted");
  });
});
