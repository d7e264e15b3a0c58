import { chmod, cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../../src/database/embedded/account.ts";
import { readSecrets, writeSecrets } from "../../src/database/embedded/cluster.ts";
import { freePort } from "../../src/database/embedded/launch.ts";
import { choosePlace } from "../../src/database/embedded/place.ts";
import { findPostmaster } from "../../src/database/embedded/postmaster.ts";
import { type EmbeddedPostgres, startEmbedded } from "../../src/database/embedded.ts";

/** Quick, and still keeping every commit when the server is killed: the machine stays. */
const settings = {
  fsync: "off",
  full_page_writes: "off",
  // A standby that is away for some restarts still finds what it has not read.
  wal_keep_size: "1GB",
};
/** As pg_ctl names them, and the signals that say so. */
const signals = { fast: "SIGINT", immediate: "SIGQUIT", kill: "SIGKILL" } as const;
export type Manner = keyof typeof signals;

/** One that the account of Postgres can enter, so that nothing is moved to /var/tmp. */
async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "nexus-outage-"));
  await chmod(folder, 0o711);
  return folder;
}

/** A Postgres of the test's own, which it may do anything to. */
export class OwnServer {
  readonly dataDir: string;
  #server: EmbeddedPostgres | undefined;

  private constructor(dataDir: string) {
    this.dataDir = dataDir;
  }

  static async start(): Promise<OwnServer> {
    const server = new OwnServer(await newFolder());
    await server.startAgain();
    return server;
  }

  /** Of database nexus, as its superuser. */
  get url(): string {
    if (!this.#server) throw new Error("the server has not been started");
    return this.#server.connectionString;
  }

  async startAgain(): Promise<void> {
    this.#server = await startEmbedded({
      dataDir: this.dataDir,
      log: { info: () => {}, warn: (message) => console.error(message) },
      settings,
    });
  }

  /** Resolves when the server is gone. */
  async end(manner: Manner): Promise<void> {
    const { cluster } = await choosePlace(this.dataDir);
    const postmaster = await findPostmaster(cluster);
    if (!postmaster) throw new Error("the server does not run");
    process.kill(postmaster.pid, signals[manner]);
    while ((await findPostmaster(cluster))?.pid === postmaster.pid) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** A standby of it, made while it does not run; both have to be started. */
  async copyAsStandby(): Promise<OwnServer> {
    const standby = new OwnServer(await newFolder());
    const [from, to] = [await choosePlace(this.dataDir), await choosePlace(standby.dataDir)];
    const secrets = await readSecrets(from);
    await writeSecrets(to, { ...secrets, port: await freePort() });
    await cp(from.cluster, to.cluster, { recursive: true });
    await writeFile(join(to.cluster, "standby.signal"), "");
    await writeFile(
      join(to.cluster, "postgresql.auto.conf"),
      `primary_conninfo = 'host=127.0.0.1 port=${secrets.port} user=postgres password=${secrets.password}'\n`,
    );
    if (to.account) await run("chown", ["-R", `${to.account.uid}:${to.account.gid}`, to.cluster]);
    await run("chmod", ["-R", "go-rwx", to.cluster]);
    return standby;
  }

  async destroy(): Promise<void> {
    const place = await choosePlace(this.dataDir);
    if (await findPostmaster(place.cluster)) await this.end("immediate");
    await rm(place.home, { recursive: true, force: true });
    await rm(this.dataDir, { recursive: true, force: true });
  }
}
