import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { listOf, released } from "./release.ts";

const why = `
Workers and servers of the release before run on while a new one starts, and still call these. Keep
what is there; what has to change gets a new name (_v2), and the old one goes a release later. After a
release: node test/deploy/list-release.ts COMMIT
`;

/** A varchar of any length reads as text does, in SQL and in TypeScript. */
const asText = (line: string) => line.replace(/ character varying(\(\d+\))?$/, " text");

describe("what the release before offers", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  for (const what of ["functions", "columns"] as const) {
    it(`is still there: its ${what}`, async () => {
      const present = new Set((await listOf(what, db.pool)).map(asText));
      const { commit, lines } = await released(what);
      assert.ok(lines.length > 100);
      const gone = lines.filter((line) => !present.has(asText(line)));
      assert.deepEqual(gone, [], `gone or changed since ${commit.slice(0, 7)}:${why}`);
    });
  }
});
