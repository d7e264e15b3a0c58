import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { queryObjects } from "node:v8";
import { startAnnouncements } from "../../src/graphql/announcements.ts";
import { createLog } from "../../src/log.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";

describe("the connection that hears announcements", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  it("keeps nothing of a listener that has gone", async () => {
    const announcements = startAnnouncements(db.poolAs("nexus_server", 1), createLog("silent"));
    const listenOnce = async () => {
      const heard = Promise.withResolvers<void>();
      const stop = announcements.listen(randomUUID(), { hear() {}, catchUp: heard.resolve });
      await heard.promise;
      stop();
    };
    const promises = () => queryObjects(Promise, { format: "count" }) as number;
    for (let n = 0; n < 50; n += 1) await listenOnce();
    const before = promises();
    const listeners = 300;
    for (let n = 0; n < listeners; n += 1) await listenOnce();
    const kept = promises() - before;
    await announcements.close();
    assert.ok(kept < listeners / 2, `${kept} promises are left of ${listeners} listeners`);
  });
});
