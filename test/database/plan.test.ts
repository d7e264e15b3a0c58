import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Client } from "pg";
import { keepAttaching } from "../../src/database/attach.ts";
import { connect } from "../../src/database/client.ts";
import { wantedTriggers } from "../../src/database/plan/ours.ts";
import { planText, readPlan } from "../../src/database/plan/plan.ts";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { lackingRights, loginsOf } from "../../src/database/rights.ts";
import { createLog } from "../../src/log.ts";
import { sentenceFor } from "../../src/process.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore } from "../support/fixtures.ts";
import { until } from "../support/until.ts";

const log = createLog("silent");

describe("the plan of attaching", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  const read = async (url = db.url) => {
    const client = await connect(url, "test-plan");
    try {
      return await readPlan(client, { migration: client.user ?? "", migrationServes: true });
    } finally {
      await client.end();
    }
  };
  /** On one line, as no test asks where it is broken. */
  const text = async () => planText(await read()).replaceAll(/\s+/g, " ");

  it("knows the triggers as the engine makes them", async () => {
    const { rows } = await db.pool.query(
      `select c.relname as table, array_agg(t.tgname::text order by t.tgname) as names from pg_trigger t
       join pg_class c on c.oid = t.tgrelid where t.tgname like 'nexus%' group by 1`,
    );
    const wanted = [...(await wantedTriggers())].map(([table, names]) => [table, names.toSorted()]);
    assert.deepEqual(
      Object.fromEntries(wanted),
      Object.fromEntries(rows.map((row) => [row.table, row.names])),
    );
  });

  it("finds nothing to do where all is there", async () => {
    const plan = await read();
    assert.equal(plan.ready, true);
    const said = await text();
    for (const expected of [
      "No right lacks",
      "Off on all of the POS's tables",
      "every migration ran and every function is of this release",
      "Triggers on ventas: all there",
      "There is no ticket yet",
      "None that we know of",
      "WHAT IS THERE OF OURS",
      "Logins of the halves: the worker as postgres, the API as postgres;",
      "RESULT: attached, of this release; nothing to do.",
    ]) {
      assert.ok(said.includes(expected), `${expected}\n${said}`);
    }
    assert.doesNotMatch(said, / [!?] [A-Z]|SIZES|OPEN NOW|To make the triggers|After attaching/);
  });

  it("asks for no index where the POS has one on the same columns", async () => {
    const ours = "drop index public.nexus_ventas_tienda_fecha";
    const theirs = "create index ix_ventas_dia on public.ventas (tienda_id, fecha)";
    const put = "alter index public.ix_ventas_dia rename to nexus_ventas_tienda_fecha";
    await db.pool.query(ours);
    assert.match(await text(), / Index nexus_ventas_tienda_fecha: will be made/);
    await db.pool.query(theirs);
    assert.match(await text(), / Index nexus_ventas_tienda_fecha: there, or another/);
    await db.pool.query(put);
  });

  it("names logins as Postgres knows them, and so that they can be pasted", async () => {
    const logins = loginsOf("order.abcdefghijklmnopqrst", {});
    assert.equal(logins.migration, "order");
    const statements = (await lackingRights(db.pool as unknown as Client, logins))
      .flatMap((lacking) => lacking.statements)
      .filter((statement) => statement.includes("order"));
    assert.ok(statements.some((statement) => statement.startsWith("grant trigger ")));
    for (const statement of statements) assert.match(statement, /"order"/);
  });

  it("names the rows, clocks, settings and transactions that an operator would wonder about", async () => {
    const store = await addStore(db.pool);
    const closed = await addStore(db.pool, { isActive: false });
    const negative = await addProduct(db.pool, store, { stock: -2 });
    await addProduct(db.pool, store, { stock: "NaN", precioCosto: "Infinity" });
    await addProduct(db.pool, store, { isActive: false });
    await addProduct(db.pool, closed);
    // Something is to be done, so that all is told.
    await db.pool.query("drop index public.nexus_ventas_tienda_fecha");
    await db.pool.query(
      `insert into public.insights (id, tipo, mensaje, nivel_urgencia, is_active, extra_data, tienda_id)
       select gen_random_uuid(), 'STOCK_BAJO', 'Quedan -2', 'CRITICA', true, jsonb_build_object('producto_id', $2::text), $1
       from generate_series(1, 2)`,
      [store, negative],
    );
    const now = Date.now();
    await addSale(db.pool, store, {
      fecha: new Date(now + 180 * 60_000),
      total: "NaN",
      statusPago: "devuelto",
    });
    await addSale(db.pool, store, {
      fecha: new Date(now + 72 * 3_600_000),
      total: 1,
      metodoPago: "cheque",
      statusPago: "pendiente",
      createdAt: new Date(now),
    });
    const name = new URL(db.url).pathname.slice(1);
    await db.pool.query(
      `alter database ${name} set work_mem = '8MB'; alter database ${name} connection limit 10`,
    );
    const pos = new Client({ connectionString: db.url, application_name: "pos-report" });
    await pos.connect();
    await pos.query("begin; update public.productos set nombre = nombre");
    try {
      const said = await text();
      for (const expected of [
        "2 insights are active of types that we write too",
        "1 product has several active insights of one type",
        "1 product has negative stock",
        "1 product has NaN, Infinity or an absurd number as stock",
        "1 product has NaN, Infinity or an absurd number as price or cost",
        "1 product is inactive",
        "1 active product belongs to inactive stores",
        "1 ticket has NaN, Infinity or an absurd number as total",
        "1 ticket is dated more than a day after being written",
        "1 ticket has a status_pago other than",
        "1 ticket is pendiente by a method that no store counts",
        "The newest tickets are dated up to 180 minutes in the future (1 of them)",
        "start it with TZ=UTC",
        "work_mem=8MB for all logins in this database: left as it is",
        "The connection limit of the database is 10",
        "pos-report, postgres, idle in transaction",
        "writes productos: our triggers there wait until it ends",
        "RESULT: attaching would work",
      ]) {
        assert.ok(said.includes(expected), `${expected}\n${said}`);
      }
    } finally {
      await pos.end();
      await db.pool.query(
        `alter database ${name} reset all; alter database ${name} connection limit -1;
         create index nexus_ventas_tienda_fecha on public.ventas (tienda_id, fecha)`,
      );
    }
    const confuse = async (how: string) =>
      assert.match(await text(), new RegExp(`${how} active of types that we write too. With the`));
    await confuse("2 insights are");
    const ours = `insert into nexus_engine.open_insight (tienda_id, tipo, subject, insight_id, since)
      select i.tienda_id, i.tipo, i.id, i.id, now() from public.insights i `;
    await db.pool.query(`${ours} limit 1`);
    await confuse("1 insight is");
    await db.pool.query(`${ours} on conflict do nothing`);
    assert.doesNotMatch(await text(), /types that we write too|several active insights/);
  });

  it("looks at nothing that a migration of the POS keeps locked, and goes on", async () => {
    const pos = new Client({ connectionString: db.url });
    await pos.connect();
    await pos.query("begin; lock table public.productos");
    try {
      const said = await text();
      assert.match(said, /\? Could not look at products: another session keeps it locked/);
      assert.match(said, /\* 1 ticket is dated more than a day after being written/);
    } finally {
      await pos.end();
    }
  });

  it("says what lacks in a database that is not the POS's, or not any more", async () => {
    await db.pool.query("alter table public.ventas rename column total to importe");
    const plan = await read();
    const start = await prepareDatabase(db.url, log).then(
      () => assert.fail("it started"),
      sentenceFor,
    );
    await db.pool.query("alter table public.ventas rename column importe to total");
    assert.match(
      start,
      /^At the step "the POS's tables": Database "\w+" has not all that this release reads of the POS: public\.ventas\.total \(.*\)\. Put back .* or run the release .*\n {2}public\.ventas\.total: expected a number, found no such column$/,
    );
    assert.equal(plan.ready, false);
    const said = planText(plan);
    assert.match(said, /! public\.ventas\.total: expected .*found no such column/);
    assert.match(said, /\? Could not look at tickets: a table or column is missing/);
    assert.match(said, /RESULT: not yet. One thing has/);
    const elsewhere = new URL(db.url);
    elsewhere.pathname = "/postgres";
    const other = await read(elsewhere.toString());
    assert.equal(other.ready, false);
    assert.match(planText(other), /is not one of Nexus POS/);
    assert.deepEqual(
      other.sections.map(({ title }) => title),
      ["Server", "The POS's tables"],
    );
  });

  it("is carried out in steps, each told in a line, and waits for whoever uses the POS's tables", async () => {
    await db.pool.query("select nexus_engine.detach()");
    assert.match(await text(), / \* detach\(\) was called at [\s\S]* RESULT: attaching would work/);
    const lines: string[] = [];
    const say = (line: string) => void lines.push(line);
    const pos = new Client({ connectionString: db.url, application_name: "pos-report" });
    await pos.connect();
    await pos.query("begin; lock table public.ventas in row exclusive mode");
    const locks = { migration: 5_000, triggers: 200, index: 5_000 };
    assert.equal(await prepareDatabase(db.url, log, { say, locks, attachAgain: true }), false);
    assert.match(
      lines.at(-1) ?? "",
      /^triggers: waiting for the POS's tables, held by pid \d+ \(pos-report, postgres, idle in transaction, transaction since /,
    );
    const attaching = keepAttaching(db.url, log, { say, attachAgain: true, firstMs: 50, ...locks });
    await until(
      "it waits again",
      () => lines.filter((line) => /waiting for the POS's tables/.test(line)).length > 1,
    );
    await pos.end();
    await attaching.ended;
    assert.match(lines.join("\n"), /^triggers: 9 there, 9 of them made in \d+ ms$/m);
    assert.deepEqual((await db.pool.query("select from nexus_engine.detached")).rows, []);

    lines.length = 0;
    assert.equal(await prepareDatabase(db.url, log, { say }), true);
    assert.match(
      lines.join("\n"),
      /^server: PostgreSQL .*\nthe POS's tables: as expected\nrights: complete\nroles: there\nschemas: \d+ migrations, 0 of them run now; \d+ files of functions, 0 of them applied now\nqueue: graphile_worker is up to date\ntriggers: 9 there/,
    );
    // What a start of the owner grants without a word is still to be done.
    for (const [taken, back] of [
      [
        "revoke select on public.ventas from nexus_worker",
        "grant select on public.ventas to nexus_worker",
      ],
      [
        "insert into nexus_engine.migration (name, sha256) values ('migrations/9999_next.sql', 'x')",
        "delete from nexus_engine.migration where name = 'migrations/9999_next.sql'",
      ],
      ["drop function nexus_engine.money cascade", undefined],
    ]) {
      await db.pool.query(taken ?? "");
      assert.match(await text(), /RESULT: attaching would work/, taken);
      if (back) await db.pool.query(back);
    }
  });
});
