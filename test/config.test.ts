import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readConfig } from "../src/config.ts";

const secret = "a-secret-key-of-at-least-32-characters";

describe("the configuration", () => {
  it("needs nothing", () => {
    const config = readConfig({});
    assert.deepEqual(
      [config.databaseUrl, config.host, config.port, config.environment, config.jobTimeLimitMs],
      [undefined, "127.0.0.1", undefined, "development", 1_800_000],
    );
  });

  it("is that of production when a database is given", () => {
    const config = readConfig({ DATABASE_URL: "postgres://db/pos", SECRET_KEY: secret });
    assert.deepEqual([config.environment, config.logLevel], ["production", "info"]);
  });

  it("takes an empty value for an absent one", () => {
    assert.equal(readConfig({ DATABASE_URL: "", PORT: "" }).databaseUrl, undefined);
  });

  it("reports all problems at once, each with its variable", () => {
    assert.throws(
      () =>
        readConfig({
          DATABASE_URL: "mysql://x",
          PORT: "99999",
          SECRET_KEY: "short",
          WORKER_CONCURRENCY: "many",
        }),
      (error: Error) => {
        assert.equal(error.name, "ConfigError");
        for (const name of ["DATABASE_URL", "PORT", "SECRET_KEY", "WORKER_CONCURRENCY"]) {
          assert.match(error.message, new RegExp(`^  ${name}: `, "m"));
        }
        return true;
      },
    );
  });

  const refused = (env: Record<string, string>, problem: RegExp) =>
    assert.throws(() => readConfig(env), { name: "ConfigError", message: problem });

  it("counts the bytes of a key, that of before as well", () => {
    const enough = "ñ".repeat(16);
    assert.equal(readConfig({ SECRET_KEY: enough }).secretKey, enough);
    for (const short of ["ñ".repeat(15), "x".repeat(31)]) {
      refused({ SECRET_KEY: short }, /^ {2}SECRET_KEY: expected .* at least 32 bytes/m);
      refused(
        { SECRET_KEY: secret, SECRET_KEY_PREVIOUS: short },
        /^ {2}SECRET_KEY_PREVIOUS: expected .* at least 32 bytes/m,
      );
    }
  });

  it("takes the key of before beside another one", () => {
    const env = { SECRET_KEY: secret, SECRET_KEY_PREVIOUS: `${secret}-old` };
    assert.equal(readConfig(env).previousSecretKey, `${secret}-old`);
    assert.equal(readConfig({ SECRET_KEY: secret }).previousSecretKey, undefined);
    refused({ SECRET_KEY_PREVIOUS: secret }, /^ {2}SECRET_KEY_PREVIOUS: expected a SECRET_KEY/m);
    refused({ SECRET_KEY: secret, SECRET_KEY_PREVIOUS: secret }, /^ {2}SECRET_KEY_PREVIOUS: /m);
  });

  it("says what it expected and what came", () => {
    assert.throws(
      () => readConfig({ PORT: "abc", WORKER_CONCURRENCY: "0", LOG_LEVEL: "todo" }),
      (error: Error) => {
        assert.deepEqual(error.message.split("\n  ").slice(1), [
          'PORT: expected a number, got "abc"',
          'LOG_LEVEL: expected one of fatal, error, warn, info, debug, trace, silent, got "todo"',
          'WORKER_CONCURRENCY: expected a number of at least 1, got "0"',
        ]);
        return true;
      },
    );
  });

  it("never shows a value that is a secret", () => {
    const marks = ["corta-MARCA", "mysql://u:MARCA@db/pos"];
    assert.throws(
      () =>
        readConfig({ SECRET_KEY: marks[0], SECRET_KEY_PREVIOUS: marks[0], DATABASE_URL: marks[1] }),
      (error: Error) => !error.message.includes("MARCA"),
    );
  });

  it("takes exact origins, and no other", () => {
    const origins = (text: string) => readConfig({ CORS_ORIGINS: text }).corsOrigins;
    assert.deepEqual(readConfig({}).corsOrigins, []);
    assert.deepEqual(origins("https://pos.example , http://localhost:5173"), [
      "https://pos.example",
      "http://localhost:5173",
    ]);
    for (const wrong of [
      "*",
      "null",
      "pos.example",
      "https://pos.example/",
      "https://pos.example:443",
      "https://*.example",
      "https://POS.example",
      "https://a.example,",
      "javascript:alert(1)",
    ]) {
      refused({ CORS_ORIGINS: wrong }, /^ {2}CORS_ORIGINS: expected exact origins .* got "/m);
    }
  });

  it("gives a store at least what one of its users has", () => {
    const { mutationLimits } = readConfig({
      MUTATIONS_PER_MINUTE: "7",
      STORE_MUTATIONS_PER_MINUTE: "7",
    });
    assert.deepEqual(mutationLimits, { user: 7, store: 7 });
    refused({ MUTATIONS_PER_MINUTE: "301" }, /^ {2}STORE_MUTATIONS_PER_MINUTE: .*301.* got 300/m);
  });

  it("wants the POS's key where it attaches to the POS's database", () => {
    assert.throws(() => readConfig({ DATABASE_URL: "postgres://db/pos" }), /SECRET_KEY: expected/);
  });

  it("takes PgBouncer for the halves only, and checks every URL", () => {
    const pooled = "postgres://u:geheim@bouncer:6432/pos?pgbouncer=true";
    const direct = "postgres://u:geheim@h1,h2/pos";
    const halves = { WORKER_DATABASE_URL: pooled, SERVER_DATABASE_URL: pooled };
    const config = readConfig({ DATABASE_URL: direct, SECRET_KEY: secret, ...halves });
    assert.deepEqual([config.databaseUrl, config.serverDatabaseUrl], [direct, pooled]);
    const wrong = {
      DATABASE_URL: pooled,
      SERVER_DATABASE_URL: `${direct}?target_session_attrs=any`,
    };
    assert.throws(
      () => readConfig({ ...wrong, SECRET_KEY: secret }),
      (error: Error) =>
        /SERVER_DATABASE_URL: target_session_attrs: expected/.test(error.message) &&
        !error.message.includes("geheim"),
    );
    assert.throws(
      () => readConfig({ DATABASE_URL: pooled, SECRET_KEY: secret }),
      /DATABASE_URL: expected a direct connection/,
    );
  });
});
