import { createPool } from "../../src/database/pools.ts";
import { signToken } from "../../src/graphql/token.ts";
import { startHttp } from "../../src/http.ts";
import { createLog } from "../../src/log.ts";

/** What asks the server: the address of /graphql, and tokens that it takes. */
export type BenchServer = {
  url: string;
  tokenOf(user: string): Promise<string>;
};

/** Runs with the real HTTP server in this process, on this database, with so many connections. */
export async function withBenchServer(
  connectionString: string,
  max: number,
  run: (server: BenchServer) => Promise<void>,
): Promise<void> {
  const log = createLog("warn");
  const key = new TextEncoder().encode("the key of a benchmark, worth nothing");
  const pool = createPool({
    connectionString,
    log,
    max,
    name: "nexus-bench-http",
    role: "nexus_server",
  });
  const http = await startHttp({
    host: "127.0.0.1",
    port: 0,
    nextFreePort: false,
    environment: "production",
    secretKeys: [key],
    pool,
    statementTimeoutMs: 10_000,
    log,
    isReady: async () => true,
  });
  try {
    await run({ url: `${http.url}/graphql`, tokenOf: (user) => signToken(user, key, 3_600) });
  } finally {
    await http.close();
    await pool.end();
  }
}
