import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type EmbeddedPostgres, startEmbedded } from "../../src/database/embedded.ts";

let server: EmbeddedPostgres | undefined;
let dataDir: string | undefined;

/** One Postgres for the whole run, without fsync; NEXUS_TEST_SERVER names another one instead. */
export async function globalSetup(): Promise<void> {
  if (process.env.NEXUS_TEST_SERVER) return;
  dataDir = await mkdtemp(join(tmpdir(), "nexus-test-"));
  server = await startEmbedded({
    dataDir,
    log: { info: () => {}, warn: (message) => console.error(message) },
    settings: {
      fsync: "off",
      synchronous_commit: "off",
      full_page_writes: "off",
      max_connections: "200",
      max_prepared_transactions: "2",
    },
  });
  process.env.NEXUS_TEST_SERVER = server.connectionString;
}

export async function globalTeardown(): Promise<void> {
  await server?.stop();
  if (server) await rm(server.dataDir, { recursive: true, force: true });
  if (dataDir) await rm(dataDir, { recursive: true, force: true });
}
