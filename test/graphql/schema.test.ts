import assert from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import {
  type GraphQLSchema,
  isEnumType,
  isObjectType,
  lexicographicSortSchema,
  printSchema,
} from "graphql";
import { buildSchema } from "../../src/graphql/server.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";

const apiDir = join(import.meta.dirname, "../../sql/api");
const file = join(import.meta.dirname, "../schema.graphql");

describe("the GraphQL schema", () => {
  let db: TestDatabase;
  let schema: GraphQLSchema;
  before(async () => {
    db = await createTestDatabase();
    schema = await buildSchema(db.poolAs("nexus_server"));
  });
  after(() => db.drop());

  it("is the committed one", async () => {
    const printed = `${printSchema(lexicographicSortSchema(schema))}\n`;
    if (process.env["UPDATE_SCHEMA"] === "1") await writeFile(file, printed);
    const committed = await readFile(file, "utf8");
    assert.equal(
      printed,
      committed,
      `The schema differs from test/schema.graphql:\n${difference(committed, printed)}\nIf that is meant, run the test with UPDATE_SCHEMA=1 and commit the file.`,
    );
  });

  it("is the same after each file of sql/api was applied again, alone", async () => {
    const client = await db.pool.connect();
    try {
      for (const name of (await readdir(apiDir)).sort()) {
        const text = await readFile(join(apiDir, name), "utf8");
        await client.query("begin");
        await client.query(
          "set local role nexus_owner; set local check_function_bodies = off; set local search_path = ''",
        );
        await client.query(text);
        await client.query("commit");
      }
    } finally {
      client.release();
    }
    const again = await buildSchema(db.poolAs("nexus_server"));
    const print = (some: GraphQLSchema) => printSchema(lexicographicSortSchema(some));
    assert.equal(print(again), print(schema));
  });

  it("has no global ids, and no tienda_id by which one could ask for another store", () => {
    const text = printSchema(schema);
    assert.doesNotMatch(text, /tiendaId|nodeId|rowId|clientMutationId/);
    assert.doesNotMatch(text, /\bID\b/);
  });

  it("spells every enum one way, and says of every list that neither it nor a row is null", () => {
    const types = Object.values(schema.getTypeMap()).filter(({ name }) => !name.startsWith("__"));
    const values = types.filter(isEnumType).flatMap((type) => type.getValues());
    assert.ok(values.length > 10);
    for (const { name } of values) assert.match(name, /^[A-Z]+(_[A-Z]+)*$/);
    const fields = types.filter(isObjectType).flatMap((type) => Object.values(type.getFields()));
    const lists = fields.map(({ type }) => String(type)).filter((type) => type.includes("["));
    assert.ok(lists.length > 10);
    for (const type of lists) assert.match(type, /^\[\w+!\]!$/);
  });

  it("is built from what nexus_tienda may see", async () => {
    await db.pool.query(
      "create function nexus_api.secreta() returns int language sql stable as 'select 1'",
    );
    await db.pool.query(
      "create function nexus_api.visible() returns int language sql stable as 'select 1'",
    );
    await db.pool.query(
      "revoke execute on function nexus_api.secreta(), nexus_api.visible() from public",
    );
    await db.pool.query(
      "grant execute on function nexus_api.secreta() to nexus_server, nexus_ops, nexus_worker",
    );
    await db.pool.query("grant execute on function nexus_api.visible() to nexus_tienda");
    const fields = (await buildSchema(db.poolAs("nexus_server"))).getQueryType()?.getFields();
    assert.ok(fields?.["visible"]);
    assert.equal(fields["secreta"], undefined);
  });
});

/** The lines of only one of the two, with a sign for which. */
function difference(before: string, now: string): string {
  const without = (lines: string[], others: Set<string>, sign: string) =>
    lines.filter((line) => line.trim() && !others.has(line)).map((line) => `${sign} ${line}`);
  const [old, fresh] = [before.split("\n"), now.split("\n")];
  return [...without(old, new Set(fresh), "-"), ...without(fresh, new Set(old), "+")]
    .slice(0, 40)
    .join("\n");
}
