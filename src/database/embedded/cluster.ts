import { randomBytes } from "node:crypto";
import { access, chown, mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { run } from "./account.ts";
import { writePrivate } from "./files.ts";
import { freePort } from "./launch.ts";
import type { Place } from "./place.ts";

export type Secrets = { port: number; password: string };

export const SUPERUSER = "postgres";
const DRAFT = "initdb-";

export async function clusterExists(place: Place): Promise<boolean> {
  return access(place.cluster).then(
    () => true,
    () => false,
  );
}

/**
 * Creates the cluster. Its folder appears by a rename, when it is complete and its password is
 * written down, so a process killed at any moment leaves nothing that looks like a cluster.
 */
export async function createCluster(place: Place, quick: boolean): Promise<void> {
  const password = randomBytes(24).toString("base64url");
  await writeSecrets(place, { port: await freePort(), password });

  await removeDrafts(place);
  const draft = join(place.home, `${DRAFT}${randomBytes(6).toString("hex")}`);
  const passwordFile = `${draft}.password`;
  try {
    await mkdir(draft, { mode: 0o700 });
    if (place.account) await chown(draft, place.account.uid, place.account.gid);
    await writePrivate(passwordFile, `${password}\n`, place.account);
    await run(
      join(place.bin, "initdb"),
      [
        ...["--pgdata", draft, "--username", SUPERUSER],
        ...["--pwfile", passwordFile, "--auth", "scram-sha-256"],
        // Built into Postgres: the same order of strings on every machine, and no locale package.
        ...["--encoding", "UTF8", "--locale", "C"],
        ...["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"],
        "--no-instructions",
        ...(quick ? ["--no-sync"] : []),
      ],
      place.account,
    );
    await rename(draft, place.cluster);
  } finally {
    await rm(passwordFile, { force: true });
    await rm(draft, { recursive: true, force: true });
  }
}

/** Of processes killed during initdb; an initdb that has outlived its parent may still write. */
async function removeDrafts(place: Place): Promise<void> {
  const names = (await readdir(place.home)).filter((name) => name.startsWith(DRAFT));
  for (const name of names) {
    await rm(join(place.home, name), { recursive: true, force: true }).catch(() => undefined);
  }
}

export async function readSecrets(place: Place): Promise<Secrets> {
  try {
    return JSON.parse(await readFile(place.secrets, "utf8"));
  } catch (cause) {
    throw new Error(
      `Cannot read ${place.secrets}, which holds the password of the database beside it ` +
        `(remove ${place.home} to begin with an empty database)`,
      { cause },
    );
  }
}

export async function writeSecrets(place: Place, secrets: Secrets): Promise<void> {
  await writePrivate(place.secrets, `${JSON.stringify(secrets)}\n`);
}
