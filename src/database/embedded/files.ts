import { randomBytes } from "node:crypto";
import { closeSync, constants, fchownSync, openSync, statSync } from "node:fs";
import { copyFile, type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";

/*
 * Root may start the server in a folder of an ordinary user. Every file made there belongs to the
 * owner of the folder, so that this user can start the server again later.
 */

const PRIVATE = 0o600;

/** Creates an empty file, or leaves the existing one alone. Synchronous: see the lock. */
export function createOwned(file: string): void {
  let fd: number;
  try {
    fd = openSync(file, "wx", PRIVATE);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return;
    throw error;
  }
  try {
    const { uid, gid } = statSync(dirname(file));
    if (process.getuid?.() === 0) fchownSync(fd, uid, gid);
  } finally {
    closeSync(fd);
  }
}

/** Replaces a file as a whole: a reader sees the old text or the new one. */
export async function writePrivate(
  file: string,
  text: string,
  owner?: { uid: number; gid: number },
): Promise<void> {
  const draft = `${file}.${randomBytes(6).toString("hex")}`;
  try {
    const handle = await open(draft, "wx", PRIVATE);
    try {
      await giveAway(handle, owner ?? (await stat(dirname(file))));
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(draft, file);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

export async function openLog(file: string): Promise<FileHandle> {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_RDWR } = constants;
  const handle = await open(file, O_APPEND | O_CREAT | O_NOFOLLOW | O_RDWR, PRIVATE);
  await giveAway(handle, await stat(dirname(file)));
  return handle;
}

/**
 * Once a log has outgrown `limit` bytes, keeps it as FILE.1 in the place of the one before, and empties
 * it. The server goes on writing: it appends. What it writes in between is lost.
 */
export async function rotateLog(file: string, limit: number): Promise<void> {
  const handle = await open(file, constants.O_RDWR | constants.O_NOFOLLOW).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    },
  );
  if (!handle) return;
  try {
    if ((await handle.stat()).size <= limit) return;
    const old = `${file}.1`;
    await rm(old, { force: true });
    await copyFile(file, old);
    await handle.truncate(0);
  } finally {
    await handle.close();
  }
}

async function giveAway(handle: FileHandle, to: { uid: number; gid: number }): Promise<void> {
  if (process.getuid?.() === 0) await handle.chown(to.uid, to.gid);
}
