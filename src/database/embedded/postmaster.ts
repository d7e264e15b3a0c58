import { readFile, readlink, realpath, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "./account.ts";
import { writePrivate } from "./files.ts";

/** Above the largest pid of any system we support (PID_MAX_LIMIT of Linux is 2^22). */
const NOBODYS_PID = 4_194_304;

export type Postmaster = { pid: number; port: number; ready: boolean };

/** What postmaster.pid says, which may be long out of date. */
export async function readPidFile(cluster: string): Promise<Postmaster | undefined> {
  const text = await readFile(pidFile(cluster), "utf8").catch(() => "");
  const lines = text.split("\n");
  const pid = Number.parseInt(lines[0] ?? "", 10);
  if (!(pid > 1)) return undefined;
  return { pid, port: Number(lines[3]), ready: lines[7]?.trim() === "ready" };
}

/** The living server of the cluster, whoever started it. */
export async function findPostmaster(cluster: string): Promise<Postmaster | undefined> {
  const found = await readPidFile(cluster);
  return found && (await servesCluster(found.pid, cluster)) ? found : undefined;
}

/**
 * Postgres refuses to start while the pid in postmaster.pid exists. After a kill -9 that pid may be
 * a zombie nobody collects (pid 1 of a container), or after a reboot any process of the same user.
 * Only the pid is replaced: by the rest of the file Postgres still finds out whether children of
 * the dead server are using its shared memory.
 */
export async function disownStalePid(cluster: string): Promise<void> {
  const found = await readPidFile(cluster);
  if (!found) await removeEmptyPidFile(cluster);
  if (!found || !exists(found.pid) || (await servesCluster(found.pid, cluster))) return;
  const text = await readFile(pidFile(cluster), "utf8");
  const updated = text.replace(/^\d+/, String(NOBODYS_PID));
  await writePrivate(pidFile(cluster), updated, await stat(cluster));
}

/** Left by a machine that went down; a starting server fills it at once. */
async function removeEmptyPidFile(cluster: string): Promise<void> {
  const isEmpty = () =>
    readFile(pidFile(cluster), "utf8").then(
      (text) => text.trim() === "",
      () => false,
    );
  if (!(await isEmpty())) return;
  await sleep(200);
  if (await isEmpty()) await rm(pidFile(cluster), { force: true });
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/** The same as `pg_ctl stop -m fast`; resolves to false when the server is still there. */
export async function stopPostmaster(cluster: string, patienceMs: number): Promise<boolean> {
  const server = await findPostmaster(cluster);
  if (!server) return true;
  try {
    process.kill(server.pid, "SIGINT");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
  const until = Date.now() + patienceMs;
  while (await servesCluster(server.pid, cluster)) {
    if (Date.now() > until) return false;
    await sleep(10);
  }
  return true;
}

async function servesCluster(pid: number, cluster: string): Promise<boolean> {
  if (process.platform !== "linux") {
    const line = await run("ps", ["-o", "stat=,comm=", "-p", String(pid)]).catch(() => "");
    return /^\s*[^Z\s]\S*\s.*\bpostgres\s*$/.test(line);
  }
  const line = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  const [, name, state] = /\((.*)\) (\S)/s.exec(line) ?? [];
  if (name !== "postgres" || state === "Z" || state === "X") return false;
  const [owner, data] = await Promise.all(
    [`/proc/${pid}`, cluster].map((path) => stat(path).catch(() => undefined)),
  );
  if (!owner || owner.uid !== data?.uid) return false;
  // Root without CAP_SYS_PTRACE (the default in Docker) may not read the link of another user.
  const folder = await readlink(`/proc/${pid}/cwd`).catch(() => undefined);
  return folder === undefined || folder === (await realpath(cluster));
}

function pidFile(cluster: string): string {
  return join(cluster, "postmaster.pid");
}
