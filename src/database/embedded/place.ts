import { createHash } from "node:crypto";
import { chmod, mkdir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import {
  type Account,
  assertOwnFolder,
  canEnter,
  isRoot,
  ownerOf,
  unprivilegedAccount,
} from "./account.ts";
import { binariesFor } from "./binaries.ts";

/**
 * Where everything is and whom it belongs to. The home belongs to the starting user; in it only the
 * cluster belongs to the account of the server, which therefore can neither swap the files that
 * root opens (log, password, lock) nor the cluster itself.
 */
export type Place = {
  home: string;
  /** PGDATA. */ cluster: string;
  /** Port and password. */ secrets: string;
  log: string;
  lock: string;
  bin: string;
  account: Account;
};

const CLOSED = 0o700;
const PASSABLE = 0o711;

export async function choosePlace(dataDir: string, relocated = "/var/tmp"): Promise<Place> {
  const wanted = await canonical(resolve(dataDir));
  if (isRoot()) return placeForRoot(wanted, relocated);

  await mkdir(wanted, { recursive: true, mode: CLOSED });
  const { uid } = await stat(wanted);
  if (uid !== process.getuid?.()) {
    throw new Error(
      `The database in ${wanted} belongs to user ${uid}: start as that user, or remove that folder`,
    );
  }
  return layout(wanted, await binariesFor(undefined), undefined);
}

async function placeForRoot(wanted: string, relocated: string): Promise<Place> {
  const existing = await ownerOf(join(wanted, "cluster"));
  const account = existing ?? (await unprivilegedAccount());
  if (await canEnter(account, wanted)) {
    await makePassable(wanted);
    return layout(wanted, await binariesFor(account), account);
  }
  if (existing) {
    throw new Error(
      `The database in ${wanted} is closed to its own user ${existing.uid}: chmod a+x`,
    );
  }
  const key = createHash("sha256").update(wanted).digest("hex").slice(0, 16);
  const home = join(relocated, `nexus-postgres-${key}`);
  await mkdir(home, { mode: PASSABLE }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  await assertOwnFolder(home);
  await chmod(home, PASSABLE);
  const owner = (await ownerOf(join(home, "cluster"))) ?? account;
  return layout(home, await binariesFor(owner), owner);
}

/** Whatever the umask; folders that exist already keep their mode. */
async function makePassable(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true });
  for (let path = folder; first && path.length >= first.length; path = dirname(path)) {
    await chmod(path, PASSABLE);
  }
}

function layout(home: string, bin: string, account: Account): Place {
  return {
    home,
    cluster: join(home, "cluster"),
    secrets: join(home, "server.json"),
    log: join(home, "postgres.log"),
    lock: join(home, "lock"),
    bin,
    account,
  };
}

/** One name for a folder that may not exist yet, whatever links lead to it. */
async function canonical(path: string): Promise<string> {
  const real = await realpath(path).catch(() => undefined);
  if (real || path === dirname(path)) return real ?? path;
  return join(await canonical(dirname(path)), basename(path));
}
