import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { connect } from "../src/database/client.ts";
import {
  checkEngine,
  exportSettings,
  importSettings,
  parseSettings,
  type SettingsFile,
} from "../src/settings-file.ts";
import { addSettings, type People } from "./cli/settings.ts";
import { createTestDatabase, type TestDatabase } from "./support/database.ts";
import { addStore } from "./support/fixtures.ts";

const root = join(import.meta.dirname, "..");

describe("the file of what people have set", () => {
  let db: TestDatabase;
  let people: People;
  let saved: SettingsFile;
  let folder: string;
  before(async () => {
    db = await createTestDatabase();
    folder = await mkdtemp(join(tmpdir(), "nexus-settings-"));
    people = await withClient((client) => addSettings(client));
    saved = await exported();
  });
  after(async () => {
    await db.drop();
    await rm(folder, { recursive: true, force: true });
  });

  async function withClient<T>(work: (client: Awaited<ReturnType<typeof connect>>) => Promise<T>) {
    const client = await connect(db.url, "test");
    return work(client).finally(() => client.end());
  }
  const exported = () => withClient(exportSettings);
  const read = (file: unknown) =>
    withClient((client) => importSettings(client, parseSettings(JSON.stringify(file))));

  it("is written and read by commands, never over an older one", async () => {
    const file = join(folder, "saved.json");
    const run = (command: string, ...args: string[]) =>
      promisify(execFile)(process.execPath, [join(root, `src/cli/${command}.ts`), ...args], {
        env: { ...process.env, DATABASE_URL: db.url, SECRET_KEY: "" },
      }).catch((error) => ({ stdout: error.stdout as string, stderr: error.stderr as string }));
    const written = await run("export", "--file", file);
    assert.match(
      written.stdout,
      /^Wrote .*saved\.json \(stores: 1, products: 1, operators: 1, insight types: 4\)/,
    );
    assert.deepEqual(JSON.parse(await readFile(file, "utf8")), saved);
    assert.match((await run("export", "--file", file)).stderr, /is there already: name another/);
    assert.match(
      (await run("import", "--file", file)).stdout,
      /^Set from .*saved\.json \(stores: 1, products: 1/,
    );
    // Counted is what was set, not what was left out.
    const stranger = { tienda_id: crypto.randomUUID(), settings: { muted_types: ["GONE"] } };
    const [known] = saved.stores;
    const muted = { ...known?.settings, muted_types: ["VENTAS_SEMANALES", "GONE"] };
    const stores = [{ ...known, settings: muted }, stranger];
    await writeFile(file, JSON.stringify({ ...saved, stores }));
    const set = await run("import", "--file", file);
    assert.match(set.stdout, /^Set from .*saved\.json \(stores: 1, products: 1, operators: 1/);
    assert.match(set.stdout, /\nLeft out 3,.*\n {2}stores\[1\]\.tienda_id: /);
    await writeFile(file, "{");
    assert.match((await run("import", "--file", file)).stderr, /^Nothing was changed: .* no JSON/);
  });

  it("is refused as a whole where a field is wrong, which it names", async () => {
    const wrong = async (change: (file: SettingsFile) => unknown, problem: RegExp) => {
      const file = structuredClone(saved);
      // What comes first would be changed.
      for (const type of file.insight_types) type.enabled = false;
      for (const product of file.products) product.min_stock = 1;
      change(file);
      await assert.rejects(read(file), (error: Error) => {
        assert.match(error.message, /^Nothing was changed/);
        assert.match(error.message, problem);
        return true;
      });
      assert.deepEqual(await exported(), saved);
    };
    const setting = (name: string, value: unknown) => (file: SettingsFile) =>
      Object.assign(file.stores[0]?.settings ?? {}, { [name]: value });
    // What only the database knows.
    await wrong(
      setting("time_zone", "Mars/Olympus"),
      /\n {2}stores\[0\]\.settings\.time_zone: expected an IANA name/,
    );
    await wrong(
      setting("critical_threshold", 999),
      /\n {2}stores\[0\]\.settings\.critical_threshold: expected at most/,
    );
    await wrong(
      setting("low_stock_threshold", "9"),
      /\n {2}stores\[0\]\.settings\.low_stock_threshold: expected a number/,
    );
    await wrong(setting("day_starts_at", "24:00"), /stores\[0\]\.settings\.day_starts_at/);
    await wrong(setting("colour", "red"), /stores\[0\]\.settings: expected no field colour/);
    await wrong(
      (file) => Object.assign(file, { version: 2 }),
      /version: expected 1 \(this release reads no other\), got 2/,
    );
    await wrong(
      (file) => file.stores.push(...saved.stores),
      /stores\[1\]\.tienda_id: expected each/,
    );
    await wrong((file) => file.operators.push("x"), /operators\[1\]: expected/);
    // 2: VENTAS_DIARIAS.
    const param = (name: string, value: unknown) => (file: SettingsFile) =>
      Object.assign(file.insight_types[2]?.params ?? {}, { [name]: value });
    const refused = (name: string, expected: string, got: string) =>
      new RegExp(`insight_types\\[2\\]\\.params\\.${name}: expected ${expected}.*, got ${got}`);
    await wrong(param("settle", "pronto"), refused("settle", "an interval", '"pronto"'));
    await wrong(param("max_age", null), refused("max_age", "an interval", "null"));
    await wrong(param("kept_true", "3"), refused("kept_true", "a whole number", '"3"'));
    await wrong(
      param("setle", "1 minute"),
      /insight_types\[2\]\.params\.setle: expected no param of this name/,
    );
  });

  it("leaves everybody alone who is not in it", async () => {
    const other = await addStore(db.pool, { settings: { lead_time_days: 9 } });
    const file = structuredClone(saved);
    file.stores[0] = { tienda_id: people.store, settings: { lead_time_days: 3 } };
    assert.deepEqual(await read(file), []);
    const { stores, products } = await exported();
    assert.deepEqual(products, saved.products);
    assert.deepEqual(
      new Map(stores.map(({ tienda_id, settings }) => [tienda_id, settings])),
      new Map([
        [people.store, { lead_time_days: 3 }],
        [other, { lead_time_days: 9 }],
      ]),
    );
    await db.pool.query("delete from nexus_engine.store_settings where tienda_id = $1", [other]);
    await read(saved);
    assert.deepEqual(await exported(), saved);
  });

  it("is read without who and what is gone, by name", async () => {
    const file = structuredClone(saved);
    file.insight_types.push({ tipo: "GONE", enabled: true, params: {} });
    file.stores[0]?.settings.muted_types?.push("GONE");
    assert.deepEqual(await read(file), [
      { path: "stores[0].settings.muted_types", value: "GONE" },
      { path: "insight_types[4].tipo", value: "GONE" },
    ]);
    assert.deepEqual(await exported(), saved);

    await db.pool.query("delete from public.users where id = $1", [people.person]);
    await db.pool.query("delete from public.productos where id = $1", [people.product]);
    await db.pool.query("delete from public.tiendas where id = $1", [people.store]);
    for (const table of ["store_settings", "product_settings", "operator"]) {
      await db.pool.query(`delete from nexus_engine.${table}`);
    }
    assert.deepEqual(await read(saved), [
      { path: "stores[0].tienda_id", value: people.store },
      { path: "products[0].producto_id", value: people.product },
      { path: "operators[0]", value: people.person },
    ]);
    const { stores, products, operators } = await exported();
    assert.deepEqual([stores, products, operators], [[], [], []]);
  });

  it("is not read while the engine is detached", async () => {
    await db.pool.query("insert into nexus_engine.detached (since) values (now())");
    await withClient((client) => checkEngine(client, false));
    await assert.rejects(
      withClient((client) => checkEngine(client, true)),
      /is detached.*Run npm run attach first/,
    );
  });
});
