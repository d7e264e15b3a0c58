import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import { after, before, describe, it } from "node:test";
import { queryObjects } from "node:v8";
import type { PoolClient } from "pg";
import { startAnnouncements } from "../../src/graphql/announcements.ts";
import { createLog } from "../../src/log.ts";
import { within } from "../../src/within.ts";
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

  /** Calls `meanwhile` once, when the connection has sent this statement and has no answer yet. */
  function whenSent(client: PoolClient, statement: RegExp, meanwhile: () => void) {
    const answered = Promise.withResolvers<unknown>();
    const query = client.query.bind(client) as (...args: unknown[]) => Promise<unknown>;
    client.query = ((...args: unknown[]) => {
      const answer = query(...args);
      if (statement.test(String(args[0]))) {
        client.query = query as typeof client.query;
        meanwhile();
        answer.then(answered.resolve, answered.reject);
      }
      return answer;
    }) as typeof client.query;
    return answered.promise;
  }

  it("hears for who comes while the channel is being opened or closed, and when that fails", async () => {
    const pool = db.poolAs("nexus_server", 1);
    let client: PoolClient | undefined;
    pool.on("acquire", (acquired) => {
      client = acquired;
    });
    const announcements = startAnnouncements(pool, createLog("silent"));
    const listen = (tienda: string) => {
      const [ready, heard] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      const stop = announcements.listen(tienda, {
        hear: () => heard.resolve(),
        catchUp: ready.resolve,
      });
      return { stop, ready: ready.promise, heard: heard.promise };
    };
    await listen(randomUUID()).ready;
    try {
      for (const [statement, fails] of [
        ["listen", false],
        ["unlisten", false],
        ["listen", true],
        ["unlisten", true],
      ] as const) {
        const tienda = randomUUID();
        const next = Promise.withResolvers<ReturnType<typeof listen>>();
        let stop = () => {};
        assert.ok(client);
        const answered = whenSent(client, new RegExp(`^${statement}`), () => {
          stop();
          next.resolve(listen(tienda));
          const { connection } = client as unknown as { connection: { stream: Socket } };
          if (fails) connection.stream.destroy();
        });
        const first = listen(tienda);
        stop = first.stop;
        if (statement === "unlisten") {
          await first.ready;
          first.stop();
        }
        const failed = await answered.then(
          () => false,
          () => true,
        );
        assert.equal(failed, fails);
        const second = await next.promise;
        await within(5_000, second.ready);
        await db.pool.query("select pg_notify($1, $2)", [
          `nexus_store:${tienda}`,
          '{"many": true}',
        ]);
        await within(2_000, second.heard);
      }
    } finally {
      await announcements.close();
    }
  });
});
