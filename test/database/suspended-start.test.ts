import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { posTables } from "../../src/database/pos.ts";
import { addLogins, type Logins } from "../access/logins.ts";
import { startEngineUnderTest } from "../outage/engine_under_test.ts";
import { createEmptyDatabase, createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore, addUser } from "../support/fixtures.ts";
import { until } from "../support/until.ts";

const schema = join(import.meta.dirname, "../../sql/pos/schema.sql");

describe("a start while the engine may not work", () => {
  let db: TestDatabase;
  let logins: Logins;
  let url: string;
  before(async () => {
    // Our roles are there, as another owner made them.
    await (await createTestDatabase()).drop();
    db = await createEmptyDatabase();
    await db.pool.query(await readFile(schema, "utf8"));
    logins = await addLogins(db);
    const own = new URL(db.url);
    [own.username, own.password] = [logins.pos, logins.pos];
    url = own.toString();
  });
  after(async () => {
    await logins.drop();
    await db.drop();
  });

  const onAll = (action: string) =>
    db.pool.query(posTables.map((name) => `alter table public.${name} ${action}`).join(";"));

  for (const [what, hide, show] of [
    [
      "the very first, with row level security that is forced on the owner",
      () => onAll("enable row level security, force row level security"),
      () => onAll("disable row level security, no force row level security"),
    ],
    [
      "a later one, with row level security",
      () => onAll("enable row level security"),
      () => onAll("disable row level security"),
    ],
  ] as const) {
    it(`says so, waits, and works once that is mended: ${what}`, async () => {
      const store = await addStore(db.pool);
      const user = await addUser(db.pool, store);
      await addProduct(db.pool, store, { stock: 1 });
      await hide();
      const { engine, ready, ask } = await startEngineUnderTest(url);
      try {
        const { rows: attached } = await db.pool.query("select nexus_engine.attached() as it");
        assert.equal(attached[0].it, true, "hidden rows keep no trigger off");
        assert.match(engine.suspended ?? "", /^row level security of public\.detalles_venta, /);
        assert.equal(await ready(), 503);
        assert.equal(await ask(user), "UNAVAILABLE");
        const { rows } = await db.pool.query(
          "select task_identifier from graphile_worker.jobs where attempts > 0",
        );
        assert.deepEqual(rows, []);
        await show();
        await until("it is ready", async () => (await ready()) === 200);
        assert.equal(await ask(user), "ok");
        await until("it tells", async () => {
          const told = await db.pool.query("select from public.insights where tienda_id = $1", [
            store,
          ]);
          return told.rowCount;
        });
      } finally {
        await engine.stop();
      }
    });
  }
});
