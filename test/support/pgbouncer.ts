import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { isRoot, unprivilegedAccount } from "../../src/database/embedded/account.ts";
import { freePort } from "../../src/database/embedded/launch.ts";
import { until } from "./until.ts";

/** Why tests through PgBouncer are skipped, if they are. */
export const withoutPgBouncer = (() => {
  try {
    execFileSync("pgbouncer", ["--version"]);
    return false;
  } catch {
    return "pgbouncer is not installed: apt-get install pgbouncer";
  }
})();

export type PgBouncer = {
  /** The way to the database through it, as this login. */
  urlOf(login: string, parameters?: string): string;
  stop(): Promise<void>;
};

/**
 * One in transaction mode before the server of this database, with two connections to Postgres for each
 * login, so that they change hands all the time. `passwords` by login.
 */
export async function startPgBouncer(
  databaseUrl: string,
  passwords: Record<string, string>,
): Promise<PgBouncer> {
  const server = new URL(databaseUrl);
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), "nexus-pgbouncer-"));
  await chmod(folder, 0o755);
  await writeFile(
    join(folder, "pgbouncer.ini"),
    `[databases]
* = host=${server.hostname} port=${server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${join(folder, "users.txt")}
pool_mode = transaction
default_pool_size = 2
ignore_startup_parameters = options
`,
  );
  const users = Object.entries(passwords).map(([user, password]) => `"${user}" "${password}"\n`);
  await writeFile(join(folder, "users.txt"), users.join(""));
  const account = isRoot() ? await unprivilegedAccount() : undefined;
  const bouncer: ChildProcess = spawn("pgbouncer", ["-q", join(folder, "pgbouncer.ini")], {
    stdio: "ignore",
    ...account,
  });
  const urlOf = (login: string, parameters = "?pgbouncer=true") =>
    `postgres://${login}:${passwords[login]}@127.0.0.1:${port}${server.pathname}${parameters}`;
  await until("PgBouncer answers", async () => {
    const client = new Client(urlOf(Object.keys(passwords)[0] as string, ""));
    return client
      .connect()
      .then(
        () => true,
        () => false,
      )
      .finally(() => client.end());
  });
  return {
    urlOf,
    async stop() {
      bouncer.kill("SIGKILL");
      await rm(folder, { recursive: true, force: true });
    },
  };
}
