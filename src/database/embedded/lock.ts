import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { createOwned } from "./files.ts";

/** Longer than an initdb on a slow disk followed by a crash recovery. */
const WAIT_MS = 180_000;
const POLL_MS = 20;
const SQLITE_BUSY = 5;

/**
 * Runs `work` while no other process on this machine runs work under the same lock file.
 *
 * Node offers no flock(2); an exclusive SQLite transaction on an empty file is the one kernel lock
 * (fcntl) within reach without a native add-on. The kernel drops it together with the process, so a
 * kill -9 leaves nothing behind, and no pid has to be judged dead or alive: pids are reused (inside
 * a container nearly always) and those of other users cannot be inspected everywhere.
 *
 * Any close() of the file by the owner drops an fcntl lock, so nothing but SQLite may open it.
 */
export async function withLock<T>(
  file: string,
  onWait: () => void,
  work: () => Promise<T>,
): Promise<T> {
  createOwned(file);
  const db = new DatabaseSync(file);
  try {
    const until = Date.now() + WAIT_MS;
    for (let attempts = 0; !tryLock(db); attempts += 1) {
      if (attempts === 0) onWait();
      if (Date.now() > until)
        throw new Error(`Another process has kept ${file} locked for minutes`);
      await sleep(POLL_MS);
    }
    return await work();
  } finally {
    db.close();
  }
}

function tryLock(db: DatabaseSync): boolean {
  try {
    db.exec("PRAGMA journal_mode = OFF; BEGIN EXCLUSIVE");
    return true;
  } catch (error) {
    const code = (error as { errcode?: number }).errcode ?? 0;
    if ((code & 0xff) === SQLITE_BUSY) return false;
    throw error;
  }
}
