import { z } from "zod";
import { parseTarget } from "./database/hosts.ts";
import { expectation } from "./expectations.ts";

/** Mutations a minute, of a user and of all users of a store. */
export type MutationLimits = { user: number; store: number };
export const defaultMutationLimits: MutationLimits = { user: 60, store: 300 };

/** The only reader of process.env. Everything else gets the parsed Config. */

const port = z.coerce.number().int().min(0).max(65535);
const postgresUrl = z.string().superRefine((url, context) => {
  try {
    parseTarget(url);
  } catch (error) {
    context.addIssue((error as Error).message);
  }
});
/** As browsers send them: no path, no default port, lower case. */
const origins = z.string().transform((text, context) => {
  const list = text.split(",").map((origin) => origin.trim());
  for (const origin of list) {
    if (/^https?:[^*]+$/.test(origin) && URL.canParse(origin) && new URL(origin).origin === origin)
      continue;
    context.addIssue(
      `expected exact origins such as https://pos.example, got ${JSON.stringify(origin)}`,
    );
  }
  return list;
});
const secretKey = z
  .string()
  .refine(
    (key) => Buffer.byteLength(key) >= 32,
    "expected the POS's SECRET_KEY, at least 32 bytes (HS256 needs 256 bits)",
  );
const perMinute = z.coerce.number().int().min(1).max(1_000_000);

const Environment = z.object({
  DATABASE_URL: postgresUrl.optional(),
  WORKER_DATABASE_URL: postgresUrl.optional(),
  SERVER_DATABASE_URL: postgresUrl.optional(),
  DATA_DIR: z.string().min(1).default(".data"),
  HOST: z.string().min(1).default("127.0.0.1"),
  PORT: port.optional(),
  SECRET_KEY: secretKey.optional(),
  SECRET_KEY_PREVIOUS: secretKey.optional(),
  TOKEN_AUDIENCE: z.string().optional(),
  TOKEN_ISSUER: z.string().optional(),
  NODE_ENV: z.enum(["development", "production", "test"]).optional(),
  LOG_LEVEL: z.enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"]).optional(),
  WORKER_CONCURRENCY: z.coerce.number().int().min(1).max(100).default(4),
  JOB_TIME_LIMIT_SECONDS: z.coerce.number().int().min(1).max(86_400).default(1800),
  STORES_PER_JOB: z.coerce.number().int().min(1).max(1000).default(100),
  INSIGHT_RETENTION_DAYS: z.coerce.number().int().min(1).max(3650).default(180),
  JOB_RUN_RETENTION_DAYS: z.coerce.number().int().min(1).max(3650).default(30),
  JOB_RUNS_KEPT: z.coerce.number().int().min(1000).max(1_000_000_000).default(1_000_000),
  MUTATIONS_PER_MINUTE: perMinute.default(defaultMutationLimits.user),
  STORE_MUTATIONS_PER_MINUTE: perMinute.default(defaultMutationLimits.store),
  CORS_ORIGINS: origins.optional(),
  STATEMENT_TIMEOUT_MS: z.coerce.number().int().min(100).max(600_000).default(10_000),
});

export type Config = {
  /** Absent: the embedded Postgres in dataDir. */
  databaseUrl: string | undefined;
  workerDatabaseUrl: string | undefined;
  serverDatabaseUrl: string | undefined;
  dataDir: string;
  host: string;
  /** Absent: 4000, or the next free port. */
  port: number | undefined;
  secretKey: string | undefined;
  /** What the POS signed with before, while tokens of that time are still about. */
  previousSecretKey: string | undefined;
  /** What the POS's tokens say in aud and iss; absent: these are not looked at. */
  expectedClaims: { audience: string | undefined; issuer: string | undefined };
  /** Absent in the environment: production with DATABASE_URL, development without. */
  environment: "development" | "production" | "test";
  /** Absent in the environment: info with DATABASE_URL, warn without, where a person looks on. */
  logLevel: string;
  workerConcurrency: number;
  jobTimeLimitMs: number;
  storesPerJob: number;
  insightRetentionDays: number;
  jobRunRetentionDays: number;
  jobRunsKept: number;
  statementTimeoutMs: number;
  mutationLimits: MutationLimits;
  corsOrigins: string[];
};

export class ConfigError extends Error {
  override name = "ConfigError";
}

/**
 * Parses the environment; throws one ConfigError that lists every problem. Who only works on the database needs no
 * SECRET_KEY.
 */
export function readConfig(
  env: NodeJS.ProcessEnv = process.env,
  { needsSecretKey = true }: { needsSecretKey?: boolean } = {},
): Config {
  // An empty value is how compose files and shells say "not set".
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ""));
  const parsed = Environment.safeParse(given, { error: expectation });
  const problems = parsed.success
    ? []
    : parsed.error.issues.map(({ code, path: [name = ""], message }) =>
        // Our own say what came, where that may be shown.
        code === "custom"
          ? `${String(name)}: ${message}`
          : `${String(name)}: ${message}, got ${JSON.stringify(given[String(name)])}`,
      );
  if (needsSecretKey && given.DATABASE_URL && !given.SECRET_KEY) {
    problems.push(
      "SECRET_KEY: expected the POS's own key, because DATABASE_URL is set; got nothing",
    );
  }
  if (parsed.data?.DATABASE_URL && parseTarget(parsed.data.DATABASE_URL).pooled) {
    problems.push(
      "DATABASE_URL: expected a direct connection, for migrations and to listen; got pgbouncer=true, which is for WORKER_DATABASE_URL and SERVER_DATABASE_URL",
    );
  }
  if (given.SECRET_KEY_PREVIOUS && !given.SECRET_KEY) {
    problems.push("SECRET_KEY_PREVIOUS: expected a SECRET_KEY beside it; got nothing");
  } else if (given.SECRET_KEY_PREVIOUS && given.SECRET_KEY_PREVIOUS === given.SECRET_KEY) {
    problems.push("SECRET_KEY_PREVIOUS: expected another key than SECRET_KEY; got the same");
  }
  if (parsed.success && parsed.data.STORE_MUTATIONS_PER_MINUTE < parsed.data.MUTATIONS_PER_MINUTE) {
    problems.push(
      `STORE_MUTATIONS_PER_MINUTE: expected at least MUTATIONS_PER_MINUTE (${parsed.data.MUTATIONS_PER_MINUTE}), got ${parsed.data.STORE_MUTATIONS_PER_MINUTE}`,
    );
  }
  if (!parsed.success || problems.length > 0) {
    throw new ConfigError(`The configuration is not usable:\n  ${problems.join("\n  ")}`);
  }
  const e = parsed.data;
  return {
    databaseUrl: e.DATABASE_URL,
    workerDatabaseUrl: e.WORKER_DATABASE_URL,
    serverDatabaseUrl: e.SERVER_DATABASE_URL,
    dataDir: e.DATA_DIR,
    host: e.HOST,
    port: e.PORT,
    secretKey: e.SECRET_KEY,
    previousSecretKey: e.SECRET_KEY_PREVIOUS,
    expectedClaims: { audience: e.TOKEN_AUDIENCE, issuer: e.TOKEN_ISSUER },
    environment: e.NODE_ENV ?? (e.DATABASE_URL ? "production" : "development"),
    logLevel: e.LOG_LEVEL ?? (e.DATABASE_URL ? "info" : "warn"),
    workerConcurrency: e.WORKER_CONCURRENCY,
    jobTimeLimitMs: e.JOB_TIME_LIMIT_SECONDS * 1000,
    storesPerJob: e.STORES_PER_JOB,
    insightRetentionDays: e.INSIGHT_RETENTION_DAYS,
    jobRunRetentionDays: e.JOB_RUN_RETENTION_DAYS,
    jobRunsKept: e.JOB_RUNS_KEPT,
    statementTimeoutMs: e.STATEMENT_TIMEOUT_MS,
    corsOrigins: e.CORS_ORIGINS ?? [],
    mutationLimits: { user: e.MUTATIONS_PER_MINUTE, store: e.STORE_MUTATIONS_PER_MINUTE },
  };
}
