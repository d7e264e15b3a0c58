import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";

const root = join(import.meta.dirname, "../..");
const tipos = readdirSync(join(root, "sql/insights"))
  .map((file) => file.replace(/\.sql$/, "").toUpperCase())
  .sort();

describe("the catalogue of insight types", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
  });
  after(() => db.drop());

  it("has one file, one row and one test for each type", async () => {
    const { rows } = await db.pool.query(
      "select tipo from nexus_engine.insight_type order by tipo",
    );
    assert.deepEqual(
      rows.map(({ tipo }) => tipo),
      tipos,
    );
    const tests = readdirSync(join(root, "test/insights"));
    for (const tipo of tipos)
      assert.ok(tests.includes(`${tipo.toLowerCase()}.test.ts`), `a test for ${tipo}`);
    const readme = readFileSync(join(root, "README.md"), "utf8");
    for (const tipo of tipos) assert.ok(readme.includes(tipo), `the README names ${tipo}`);
  });

  it("can be united: every function returns the same row", async () => {
    const union = tipos
      .map((tipo) => `select * from nexus_engine.insight_${tipo.toLowerCase()}('{}', now())`)
      .join(" union all ");
    const { fields } = await db.pool.query(union);
    assert.deepEqual(
      fields.map(({ name }) => name),
      ["tienda_id", "subject", "nivel_urgencia", "mensaje", "extra_data", "content_key"],
    );
  });

  it("declares its functions stable, parallel safe and without settings, so that they can be inlined", async () => {
    const { rows } = await db.pool.query(
      `select proname, provolatile, proparallel, proconfig, prosecdef from pg_proc
       where pronamespace = 'nexus_engine'::regnamespace and proname like 'insight\\_%'`,
    );
    assert.deepEqual(
      [...new Set(rows.map(({ proname }) => proname))].sort(),
      tipos.map((tipo) => `insight_${tipo.toLowerCase()}`).sort(),
    );
    for (const row of rows) {
      assert.deepEqual(
        { ...row, proname: "" },
        {
          proname: "",
          provolatile: "s",
          proparallel: "s",
          proconfig: null,
          prosecdef: false,
        },
        row.proname,
      );
    }
  });

  it("refuses params of which a job would fail later", async () => {
    const set = (tipo: string, params: object) =>
      db.pool.query("update nexus_engine.insight_type set params = params || $2 where tipo = $1", [
        tipo,
        params,
      ]);
    const interval = 'an interval from 0 to 366 days, such as "3 days"';
    const refusals: [string, object, string][] = [
      ["settle", { settle: "pronto" }, `${interval}, got "pronto"`],
      ["settle", { settle: 30 }, `${interval}, got 30`],
      ["settle", { settle: null }, `${interval}, got null`],
      ["settle", { settle: "-1 minute" }, `${interval}, got "-1 minute"`],
      ["max_age", { max_age: "9 years" }, `${interval}, got "9 years"`],
      ["kept_true", { kept_true: "3" }, 'a whole number from 1 to 366, got "3"'],
      ["kept_true", { kept_true: 2.5 }, "a whole number from 1 to 366, got 2.5"],
      ["kept_true", { kept_true: 1e9 }, "a whole number from 1 to 366, got 1000000000"],
      ["kept_true", { kept_true: true }, "a whole number from 1 to 366, got true"],
      // Of a type of its own, with a param that the engine does not know.
      ["tono", { tono: 3 }, "a JSON string, got 3"],
      ["ventana", { ventana: "larga" }, 'an interval, such as "3 days", got "larga"'],
    ];
    await set("VENTAS_SEMANALES", { tono: "formal", ventana: "90 days" });
    for (const [name, params, problem] of refusals) {
      await assert.rejects(set("VENTAS_SEMANALES", params), {
        code: "NX001",
        message: `params.${name}: expected ${problem}`,
        detail: "Type VENTAS_SEMANALES.",
      });
    }
    await assert.rejects(
      db.pool.query(`update nexus_engine.insight_type set params = '{"settle": "1 minute"}'
        where tipo = 'VENTAS_DIARIAS'`),
      { message: `params.max_age: expected ${interval}, got nothing` },
    );
    await assert.rejects(
      db.pool.query("update nexus_engine.insight_type set params = '[]' where tipo = 'STOCK_BAJO'"),
      { message: "params: expected an object, got []" },
    );
    await set("VENTAS_SEMANALES", { settle: "PT1M", max_age: "1 year", kept_true: 366 });
  });

  it("keeps what operators set when the files are applied again", async () => {
    await db.pool.query(
      `update nexus_engine.insight_type set enabled = false, params = '{"settle": "1 minute", "max_age": "1 day"}' where tipo = 'VENTAS_DIARIAS'`,
    );
    await db.pool.query(
      `set role nexus_owner; ${readFileSync(join(root, "sql/insights/ventas_diarias.sql"), "utf8")}; reset role`,
    );
    const { rows } = await db.pool.query(
      "select enabled, params from nexus_engine.insight_type where tipo = 'VENTAS_DIARIAS'",
    );
    assert.deepEqual(rows, [{ enabled: false, params: { settle: "1 minute", max_age: "1 day" } }]);
  });
});
