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
