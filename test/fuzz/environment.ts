import assert from "node:assert/strict";
import fc from "fast-check";
import { readConfig } from "../../src/config.ts";
import type { Target } from "./target.ts";
import { numbers, texts } from "./values.ts";

const secret = "SECRETO-4c1b";
const urls = fc.constantFrom(
  "postgres://u:p@h/db",
  `postgres://u:${secret}@h:99999/db`,
  `mysql://u:${secret}@h/db`,
  `postgres://${secret}`,
  "postgresql://h1,h2/db",
  `POSTGRES://u:${secret}@h`,
  "",
);
const keys = fc.oneof(
  fc.constantFrom(
    "x".repeat(32),
    "x".repeat(31),
    "ñ".repeat(16),
    secret,
    `${secret}${"k".repeat(32)}`,
    " ".repeat(40),
  ),
  texts,
);
const anyNumber = fc.oneof(
  numbers.map(String),
  fc.constantFrom("0x10", "1e3", " 5 ", "5.5", "cinco", "1_000", "٣", "-0", "Infinity"),
  texts,
);
const variables: Record<string, fc.Arbitrary<string>> = {
  DATABASE_URL: urls,
  WORKER_DATABASE_URL: urls,
  SERVER_DATABASE_URL: urls,
  DATA_DIR: texts,
  HOST: texts,
  PORT: anyNumber,
  SECRET_KEY: keys,
  SECRET_KEY_PREVIOUS: keys,
  TOKEN_AUDIENCE: texts,
  TOKEN_ISSUER: texts,
  NODE_ENV: fc.oneof(fc.constantFrom("production", "test", "Production"), texts),
  LOG_LEVEL: fc.oneof(fc.constantFrom("info", "silent", "INFO"), texts),
  WORKER_CONCURRENCY: anyNumber,
  JOB_TIME_LIMIT_SECONDS: anyNumber,
  STORES_PER_JOB: anyNumber,
  INSIGHT_RETENTION_DAYS: anyNumber,
  STATEMENT_TIMEOUT_MS: anyNumber,
  MUTATIONS_PER_MINUTE: anyNumber,
  STORE_MUTATIONS_PER_MINUTE: anyNumber,
  CORS_ORIGINS: fc.oneof(
    fc.constantFrom(
      "*",
      "https://a.example",
      "https://a.example,https://b.example:8443",
      "https://a.example/",
      "null",
      "file://",
    ),
    texts,
  ),
};

/** Any environment is either a usable configuration or a list of problems, without the secrets. */
export function fuzzEnvironment(target: Pick<Target, "count">, runs: number, seed: number): void {
  const environments = fc
    .subarray(Object.keys(variables), { maxLength: 5 })
    .chain((some) =>
      fc.record(Object.fromEntries(some.map((name) => [name, variables[name] ?? texts]))),
    );
  const property = fc.property(environments, (env) => {
    try {
      const config = readConfig(env);
      target.count("environment", "usable");
      for (const key of [config.secretKey, config.previousSecretKey]) {
        assert.ok(key === undefined || Buffer.byteLength(key) >= 32);
      }
      for (const value of [
        config.jobTimeLimitMs,
        config.storesPerJob,
        config.statementTimeoutMs,
        config.mutationLimits.user,
        config.workerConcurrency,
      ]) {
        assert.ok(Number.isInteger(value) && value > 0, String(value));
      }
      assert.ok(config.mutationLimits.user <= config.mutationLimits.store);
      assert.ok(config.databaseUrl === undefined || config.secretKey !== undefined);
      for (const origin of config.corsOrigins) assert.equal(new URL(origin).origin, origin);
    } catch (error) {
      if (!(error instanceof Error) || error.name !== "ConfigError") throw error;
      target.count("environment", "ConfigError");
      assert.ok(!error.message.includes(secret), error.message);
      for (const line of error.message.split("\n  ").slice(1)) {
        assert.match(line, new RegExp(`^(${Object.keys(variables).join("|")}): `), error.message);
      }
    }
  });
  // Synchronous, as the property is.
  void fc.assert(property, { numRuns: runs, seed });
}
