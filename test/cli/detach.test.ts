import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Client } from "pg";
import { takeOff } from "../../src/cli/detach.ts";
import { connect } from "../../src/database/client.ts";
import { detach } from "../../src/database/detach.ts";
import { posIndexes } from "../../src/database/pos.ts";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { asScript, lackingRights } from "../../src/database/rights.ts";
import { createLog } from "../../src/log.ts";
import { exportSettings, importSettings, parseSettings } from "../../src/settings-file.ts";
import { until } from "../support/until.ts";
import { OwnPos } from "./own_pos.ts";
import { addSettings } from "./settings.ts";

const log = createLog("silent");
const root = join(import.meta.dirname, "../..");

/** Of two catalogues nothing but what differs is shown. */
function same(actual: string[], expected: string[]): void {
  const without = (lines: string[], others: Set<string>) =>
    lines.filter((line) => !others.has(line));
  assert.deepEqual(
    {
      added: without(actual, new Set(expected)),
      gone: without(expected, new Set(actual)),
    },
    { added: [], gone: [] },
  );
  assert.equal(actual.length, expected.length);
}

describe("taking the engine off", () => {
  let pos: OwnPos;
  before(async () => {
    pos = await OwnPos.start();
  });
  after(() => pos?.destroy());

  /** What it says, and whether nothing is left. */
  async function off(url: string, options: Parameters<typeof takeOff>[2] = {}) {
    const lines: string[] = [];
    const done = await takeOff(url, (line) => lines.push(line), options);
    return { done, said: lines.join("\n") };
  }

  it("leaves nothing on the POS's tables, and comes back", async () => {
    const onPos = async () =>
      (await pos.catalogue("plain")).filter((line) => /^schema public |\bpublic\./.test(line));
    const url = await pos.add("plain");
    const before = await onPos();
    assert.ok(await prepareDatabase(url, log));
    const attached = await onPos();

    const { done, said } = await off(url);
    assert.ok(done, said);
    assert.match(said, /Took away 9 triggers on public\.detalles_venta, public\.insights/);
    assert.match(
      said,
      /Took away the rights of our roles on public\.detalles_venta, public\.insights/,
    );
    same(await onPos(), before);
    // A start leaves it so.
    await prepareDatabase(url, log);
    same(await onPos(), before);
    assert.match((await off(url)).said, /There was nothing of ours/);

    const missing = async (client: Client) =>
      (await client.query("select nexus_engine.missing_grants() as it")).rows;
    await pos.as(url, async (client) => {
      await client.query("select nexus_engine.attach()");
      assert.deepEqual(await missing(client), []);
    });
    assert.ok(await prepareDatabase(url, log));
    // The schema everybody may use: there is nothing to be granted anew.
    const onTables = (lines: string[]) => lines.filter((line) => !line.startsWith("schema "));
    same(onTables(await onPos()), onTables(attached));

    // A migration of the POS made a table anew: trigger and rights went with the old one. The rights come back
    // even while a sale keeps our trigger waiting.
    await pos.as(url, async (sale) => {
      await sale.query("drop trigger nexus_sale_truncate on public.ventas");
      await sale.query("revoke all on public.users from nexus_owner");
      await sale.query("revoke usage on schema public from public");
      assert.deepEqual(await missing(sale), [
        { it: "grant usage on schema public to nexus_owner" },
        { it: "grant usage on schema public to nexus_worker" },
        { it: "grant select (id, is_active, tienda_id) on public.users to nexus_owner" },
      ]);
      await sale.query("begin; lock table public.ventas in row exclusive mode");
      const locks = { migration: 300, triggers: 300, index: 300 };
      assert.equal(await prepareDatabase(url, log, { locks }), false);
      assert.deepEqual(await pos.as(url, missing), []);
      await sale.query("commit; grant usage on schema public to public");
    });
    assert.ok(await prepareDatabase(url, log));
    same(onTables(await onPos()), onTables(attached));

    // What the login may not take away is said, with what to do.
    await pos.superuser.query(`create role auditor; alter role plain nocreaterole`);
    await pos.as(url, (client) =>
      client.query("grant select on public.ventas to auditor with grant option"),
    );
    await pos.as(pos.url("plain"), (client) =>
      client.query("set role auditor; grant select on public.ventas to nexus_worker"),
    );
    assert.match(
      (await off(url)).said,
      /^Rights of our roles stay \(harmless .*\)\. To leave for good, as auditor:\n {2}revoke all on public\.ventas from nexus_worker;$/m,
    );
    const rest = await off(url, { all: true });
    assert.equal(rest.done, false);
    const [, again] = /^LEFT, for "auditor" to take away:\n {2}(.*);$/m.exec(rest.said) ?? [];
    assert.equal(again, "revoke all on public.ventas from nexus_worker");
    assert.doesNotMatch(rest.said, /attach makes them anew|To come back/);
    assert.match(rest.said, /\nNot complete: see LEFT\.$/);
    const [, statements] =
      /^LEFT: the roles .* Have a superuser execute here: (.*)$/m.exec(rest.said) ?? [];
    await pos.as(pos.url("plain"), async (client) => {
      await client.query(`set role auditor; ${again}; reset role; ${statements}`);
      await client.query("drop owned by auditor; drop role auditor");
    });
    same(await onPos(), before);
    await pos.superuser.query("drop database plain");
  });

  it("leaves with --all nothing in the database, and in the last one nothing in the cluster", async () => {
    const one = await pos.add("one");
    const alone = await pos.catalogue("one");
    const two = await pos.add("two", "one");
    const both = await pos.catalogue("one");
    for (const url of [one, two]) assert.ok(await prepareDatabase(url, log));
    // What a DBA may have added.
    for (const statement of [
      "create role jobs login in role nexus_worker",
      "grant connect on database one to nexus_worker",
      "grant connect on database two to nexus_worker",
      "alter role nexus_worker in database one set work_mem = '8MB'",
      "alter role nexus_owner bypassrls",
    ]) {
      await pos.superuser.query(statement);
    }
    await pos.as(one, (client) =>
      client.query("alter default privileges for role nexus_owner grant select on tables to jobs"),
    );

    const attached = await pos.catalogue("one");
    const first = await off(one, { all: true });
    assert.ok(first.done, first.said);
    assert.match(first.said, /Dropped the schemas nexus_api, nexus_engine, graphile_worker/);
    const ofTwo = (line: string) => line.startsWith("database two ");
    same((await pos.catalogue("one")).filter(ofTwo), attached.filter(ofTwo));
    assert.match(
      first.said,
      /Kept the roles nexus_ops.*needed by "two": remove the engine there as well/,
    );
    const second = await off(two, { all: true });
    assert.ok(second.done, second.said);
    assert.match(second.said, /Dropped the roles nexus_ops, nexus_owner/);
    await pos.superuser.query("drop role jobs");
    same(await pos.catalogue("one"), both);
    await pos.superuser.query("drop database two");
    same(await pos.catalogue("one"), alone);
    assert.match((await off(one, { all: true })).said, /There is nothing of the engine/);
  });

  it("says all that logins which own nothing leave to others, and again each time", async () => {
    await pos.add("shop");
    await pos.superuser.query("alter role shop nocreaterole");
    await pos.add("other", "shop");
    const before = await pos.catalogue("shop");
    const logins = {
      migration: "nexus_migration",
      worker: "nexus_jobs",
      server: "nexus_api",
      migrationServes: true,
    };
    for (const database of ["shop", "other"]) {
      await pos.as(pos.url(database), async (dba) => {
        await dba.query(asScript(await lackingRights(dba, logins)));
        await dba.query("alter role nexus_migration password 'nexus_migration'");
      });
      assert.ok(await prepareDatabase(pos.url(database, "nexus_migration"), log));
    }
    await pos.as(pos.url("shop", "shop"), async (owner) => {
      for (const { statement } of await posIndexes()) await owner.query(statement);
    });

    const url = pos.url("shop", "nexus_migration");
    const kept = (await off(url)).said;
    assert.match(kept, /^Rights of our roles stay \(harmless for a migration, .* as shop:$/m);
    assert.match(
      kept,
      /^ {2}revoke all on public\.detalles_venta, .* from nexus_owner, nexus_worker;$/m,
    );
    assert.equal(kept.match(/revoke/g)?.length, 1, kept);

    const all = { all: true };
    const left = (said: string) => said.slice(said.indexOf("LEFT"));
    const tables = "public.detalles_venta, public.insights, public.productos";
    const first = await off(url, all);
    assert.equal(
      left(first.said),
      `LEFT, for "shop" to take away:
  drop index public.nexus_ventas_tienda_fecha;
  revoke all on ${tables}, public.tiendas, public.users, public.ventas from nexus_owner, nexus_worker;
LEFT to logins, for "shop" to take away where nothing else needs it:
  revoke trigger on ${tables}, public.ventas from nexus_migration;
  revoke create on database shop from nexus_migration;
LEFT: logins. Those that served the engine alone a superuser may drop: drop role nexus_api, nexus_jobs, nexus_migration;
Not complete: see LEFT.`,
    );
    assert.match(first.said, /^Kept the roles .* needed by "other": remove the engine there/m);
    const second = await off(url, all);
    assert.deepEqual([second.done, left(second.said)], [false, left(first.said)]);
    const look = (await off(url)).said;
    assert.match(
      look,
      /^The engine is gone from database "shop" .*, but not all that it was given:\nLEFT/,
    );
    const other = await off(pos.url("other"), all);
    assert.match(
      other.said,
      /In "shop" the engine is gone, but rights are left that only "shop" may take away: connect there as that role, and run npm run detach -- --all\.$/m,
    );

    const alone = await off(pos.url("shop", "shop"), all);
    assert.match(alone.said, /^Took away our index: public\.nexus_ventas_tienda_fecha\.$/m);
    assert.match(alone.said, /^LEFT: the roles .* Have a superuser execute here/m);
    const last = await off(pos.url("shop"), all);
    assert.ok(last.done, last.said);
    assert.match(last.said, /^Dropped the roles /m);
    // What works for others as well is no reason to fail.
    assert.match(last.said, /^ {2}revoke trigger on .* from nexus_migration;$/m);
    for (const database of ["shop", "other"]) {
      await pos.as(pos.url(database), async (dba) => {
        const { said } = await off(pos.url(database), all);
        for (const [, statement] of said.matchAll(/^ {2}(revoke .*;)$/gm)) {
          await dba.query(`set role shop; ${statement}`);
        }
      });
    }
    const roles = /drop role nexus_api, nexus_jobs, nexus_migration;/.exec(
      (await off(pos.url("shop"), all)).said,
    );
    await pos.superuser.query(`${roles}`);
    same(await pos.catalogue("shop"), before);
    assert.match(
      (await off(pos.url("shop"), all)).said,
      /^There is nothing of the engine in [^\n]*$/,
    );
    await pos.superuser.query("drop database other");
  });

  it("asks, and refuses while the engine runs or something else depends on it", async () => {
    const url = await pos.add("asked");
    assert.ok(await prepareDatabase(url, log));
    const attached = await pos.catalogue("asked");

    const args = [join(root, "src/cli/detach.ts"), "--all"];
    const unasked = await new Promise<string>((resolve) => {
      execFile(
        process.execPath,
        args,
        { env: { ...process.env, DATABASE_URL: url, SECRET_KEY: "" } },
        (error, out, err) => resolve(`${error?.code}\n${out}${err}`),
      );
    });
    assert.match(
      unasked,
      /^1\n.*\nWith --all these are lost for good:\n {2}parameters of insight types: 4/,
    );
    assert.match(unasked, /Nothing was changed: where no terminal can be asked, --all needs --yes/);

    const engine = await connect(url, "nexus-worker");
    await assert.rejects(
      off(url, { all: true }),
      /Stop these processes.*:\n {2}nexus-worker \(login asked, from .*, connections: 1\)/,
    );
    await engine.end();

    await pos.as(url, (client) =>
      client.query("create view public.report as select * from nexus_engine.insight_type"),
    );
    await assert.rejects(
      off(url, { all: true }),
      /depend on it.* Drop or change them, and run this again:\n {2}public\.report$/,
    );
    await pos.as(url, (client) => client.query("drop view public.report"));
    await pos.as(url, (client) =>
      client.query("create view public.report as select * from nexus_engine.store"),
    );
    await assert.rejects(off(url), /Drop or change them[^:]*:\n {2}view public\.report depends on/);
    await pos.as(url, (client) => client.query("drop view public.report"));
    await assert.rejects(off(url, { all: true, agree: async () => false }), /Nothing was changed/);
    same(await pos.catalogue("asked"), attached);
  });

  it("says who may, where the login is not one of the engine's", async () => {
    await pos.add("guarded");
    assert.ok(await prepareDatabase(pos.url("guarded"), log));
    await pos.superuser.query("create role stranger login password 'stranger'");
    for (const options of [{}, { all: true }]) {
      await assert.rejects(off(pos.url("guarded", "stranger"), options), {
        name: "UsageError",
        message:
          /^The login "stranger" may not do this \(.*\): connect as the one that attached the engine, or as another member of nexus_owner\.$/,
      });
    }
  });

  it("has the POS in front, and says who that is", async () => {
    const url = pos.url("asked", "asked");
    const backup = await connect(url, "pos-backup");
    await backup.query("drop trigger nexus_sale_truncate on public.ventas");
    await backup.query("begin; lock table public.ventas in access share mode");
    const client = await connect(url, "nexus-detach");
    const lines: string[] = [];
    await assert.rejects(
      detach(client, url, (line) => lines.push(line), { givesUpAfterMs: 300, tellsAfterMs: 9_000 }),
      /Nothing was changed.*\n {2}pid \d+ \(pos-backup, asked, idle in transaction/,
    );
    // The same in SQL; a migration of the POS has a lock_timeout as well.
    await backup.query("lock table public.ventas in row exclusive mode");
    await client.query("set lock_timeout = '300ms'");
    const inTheWay =
      /^nothing was changed: .* in use for [0-9.]+ s .* In the way:\n {2}pid (\d+) \(pos-backup, asked, idle in transaction, transaction since .*\)\nCall it again .*: select pg_terminate_backend\(\1\)$/;
    for (const call of ["detach", "attach"]) {
      await assert.rejects(client.query(`select nexus_engine.${call}()`), {
        code: "55P03",
        message: inTheWay,
      });
    }
    await client.query("reset lock_timeout");
    const waiting = detach(client, url, (line) => lines.push(line), {
      givesUpAfterMs: 60_000,
      tellsAfterMs: 50,
    });
    await until("it is told who is in the way", () => lines.length > 0);
    assert.match(lines.join("\n"), /In the way:\n {2}pid \d+ \(pos-backup, asked/);
    await backup.query("commit");
    await waiting;

    // Another of us is not the POS.
    await backup.query("begin; select nexus_engine.attach()");
    lines.length = 0;
    await assert.rejects(
      detach(client, url, () => {}, { givesUpAfterMs: 300 }),
      /^MigrationError: Nothing was changed: another detach, attach or start of the engine on this database was not done after [0-9.]+ s/,
    );
    const second = detach(client, url, (line) => lines.push(line), { tellsAfterMs: 50 });
    await until("it is told who is in the way", () => lines.length > 0);
    assert.match(lines.join("\n"), /In the way:\n {2}pid \d+ \(pos-backup, of the engine, asked/);
    await backup.query("rollback");
    await second;
    await backup.end();
    await client.end();
    await pos.as(url, (owner) => owner.query("select nexus_engine.attach()"));
  });

  it("brings what people have set back from a file, when all was lost", async () => {
    const url = pos.url("asked", "asked");
    await pos.as(url, addSettings);
    const saved = JSON.stringify(await pos.as(url, exportSettings));
    assert.ok((await off(url, { all: true })).done);
    assert.ok(await prepareDatabase(url, log));
    const fresh = await pos.as(url, exportSettings);
    assert.deepEqual([fresh.stores, fresh.products, fresh.operators], [[], [], []]);
    assert.notDeepEqual(fresh.insight_types, JSON.parse(saved).insight_types);

    const read = () => pos.as(url, (client) => importSettings(client, parseSettings(saved)));
    assert.deepEqual(await read(), []);
    assert.equal(JSON.stringify(await pos.as(url, exportSettings)), saved);
    assert.deepEqual(await read(), []);
    assert.equal(JSON.stringify(await pos.as(url, exportSettings)), saved);
  });
});
