import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import type { Client } from "pg";
import { pino } from "pino";
import { connect } from "../../src/database/client.ts";
import { keepIndexes } from "../../src/database/indexes.ts";
import { ensurePosIndexes } from "../../src/database/pos.ts";
import { takesWrites } from "../../src/engine.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { until } from "../support/until.ts";

const index = "nexus_ventas_tienda_fecha";
const often = { everyMs: 20, lockMs: 400 };

describe("our index on the POS's tables", () => {
  let db: TestDatabase;
  let lines: string[];
  let keeper: ReturnType<typeof keepIndexes> | undefined;
  const log = pino({ level: "warn" }, { write: (line) => void lines.push(line) });

  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());
  afterEach(() => keeper?.stop());
  beforeEach(async () => {
    lines = [];
    await db.pool.query(`drop index if exists public.${index}`);
  });

  const isThere = async () =>
    (
      await db.pool.query(
        "select from pg_index where indexrelid = to_regclass($1) and indisvalid",
        [`public.${index}`],
      )
    ).rowCount === 1;
  const looks = async () =>
    (
      await db.pool.query<{ pid: number }>(
        "select pid from pg_stat_activity where datname = current_database() and application_name = 'nexus-indexes'",
      )
    ).rows.map(({ pid }) => pid);
  async function asLogin<T>(work: (client: Client) => Promise<T>): Promise<T> {
    const client = await connect(db.url, "login");
    try {
      return await work(client);
    } finally {
      await client.end();
    }
  }

  it("is missed, told of and built again when a migration of the POS dropped it", async () => {
    keeper = keepIndexes(db.url, log, often);
    await until("it is there", isThere);
    await until("that is told", () => lines.length > 0);
    assert.match(lines.join(), /were gone from the POS's tables/);
    assert.match(lines.join(), new RegExp(index));
    await db.pool.query(`drop index public.${index}`);
    await until("it is there again", isThere);
    await keeper.stop();
    assert.deepEqual(await looks(), []);
  });

  it("is looked after together with our triggers, which are put back", async () => {
    const warning = async () =>
      (await db.pool.query("select nexus_engine.triggers_warning() as it")).rows[0].it;
    await db.pool.query(
      `drop trigger nexus_sale_insert on public.ventas;
       alter table public.productos disable trigger nexus_stock_update`,
    );
    const told = new Map<string, string | undefined>();
    const readiness = async () => {
      const warn = (about: string, text?: string) => told.set(about, text);
      assert.equal(await takesWrites(db.poolAs("nexus_server", 1), { warn }), true);
      return told.get("triggers");
    };
    assert.match((await readiness()) ?? "", /missing or disabled/);
    keeper = keepIndexes(db.url, log, often);
    await until("they are back", async () => (await warning()) === null);
    assert.equal(await readiness(), undefined);
    assert.match(lines.join(), /missing or disabled.*putting them back now/);
  });

  it("is left away while we are detached", async () => {
    await db.pool.query("select nexus_engine.detach()");
    const looked = new Set<number>();
    keeper = keepIndexes(db.url, log, often);
    await until("it has looked, and looks again", async () => {
      for (const pid of await looks()) looked.add(pid);
      return looked.size > 1;
    });
    assert.equal(await isThere(), false);
    await db.pool.query("select nexus_engine.attach()");
    await until("it is there", isThere);
  });

  it("is not made where the POS has one on the same columns, unless only of some rows", async () => {
    const ensure = () => asLogin((client) => ensurePosIndexes(client, db.url, log));
    await db.pool.query("create index ix_own on public.ventas (tienda_id, fecha desc, total)");
    assert.deepEqual(await ensure(), { built: [], left: [] });
    await db.pool.query("drop index ix_own");
    await db.pool.query("create index ix_own on public.ventas (tienda_id, fecha) where total > 0");
    assert.deepEqual(await ensure(), { built: [index], left: [] });
    await db.pool.query("drop index ix_own");
  });

  it("is asked of an owner, by its statement, where the login is none", async () => {
    await db.pool.query(
      "do $$ begin create role index_login login in role nexus_owner; exception when duplicate_object then null; end $$",
    );
    const found = await asLogin(async (client) => {
      await client.query("set role index_login");
      return await ensurePosIndexes(client, db.url, log);
    });
    assert.deepEqual(found, {
      built: [],
      left: [
        `create index concurrently if not exists ${index} on public.ventas (tienda_id, fecha)`,
      ],
    });
    assert.deepEqual(lines, [], "attach() tells it, once");
  });
});
