import { execFile } from "node:child_process";
import { access, lstat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { promisify } from "node:util";

/** The user Postgres runs as; undefined stands for the user of this process. */
export type Account = { uid: number; gid: number } | undefined;

/** Postgres and its tools see nothing of our environment (PGPORT, LD_LIBRARY_PATH, TZ, ...). */
export const environment = { PATH: "/usr/bin:/bin:/usr/sbin:/sbin", LC_ALL: "C", TZ: "UTC" };

const exec = promisify(execFile);

export async function run(file: string, args: string[], account?: Account): Promise<string> {
  try {
    const { stdout } = await exec(file, args, { cwd: "/", env: environment, ...account });
    return stdout;
  } catch (cause) {
    const { stderr, message } = cause as Error & { stderr?: string };
    const output = stderr || message;
    throw Object.assign(new Error(`${basename(file)} failed: ${decisiveLine(output)}`, { cause }), {
      ...(diskIsFull(output) && { code: "ENOSPC" }),
    });
  }
}

/** Whether that is why a program of Postgres ended. */
export function diskIsFull(output: string): boolean {
  return /No space left on device|wrote only \d+ of \d+ bytes/.test(output);
}

/** Of what a program of Postgres printed, the line that says why it ended. */
export function decisiveLine(output: string): string {
  const lines = output.trim().split("\n");
  const decisive = lines.findLast((line) => /\b(fatal|panic|error):/i.test(line));
  return (decisive ?? lines.at(-1) ?? "").replace(/^\d{4}-.*\b(FATAL|PANIC|ERROR): +/, "").trim();
}

export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** Postgres refuses to run as root: the user to run it as when nothing else decides it. */
export async function unprivilegedAccount(): Promise<Account> {
  for (const name of ["postgres", "nobody"]) {
    const ids = await Promise.all([run("id", ["-u", name]), run("id", ["-g", name])]).catch(
      () => undefined,
    );
    if (ids) return { uid: Number(ids[0]), gid: Number(ids[1]) };
  }
  throw new Error(
    "Postgres does not run as root, and this machine has neither a user postgres nor a user nobody",
  );
}

export async function ownerOf(path: string): Promise<Account> {
  const found = await lstat(path).catch(() => undefined);
  return found && { uid: found.uid, gid: found.gid };
}

/** Whether the account can enter the folder, or its nearest parent while it does not exist. */
export async function canEnter(account: Account, folder: string): Promise<boolean> {
  const exists = await access(folder).then(
    () => true,
    () => false,
  );
  if (!exists && folder !== dirname(folder)) return canEnter(account, dirname(folder));
  return run("/bin/sh", ["-c", 'cd -- "$1"', "sh", folder], account).then(
    () => true,
    () => false,
  );
}

/**
 * /var/tmp is open to everybody: a folder found there is used only when nobody but this user could
 * have made it or can write to it.
 */
export async function assertOwnFolder(path: string): Promise<void> {
  const found = await lstat(path);
  const own = found.isDirectory() && found.uid === process.getuid?.();
  if (own && (found.mode & 0o022) === 0) return;
  throw new Error(
    `${path} was not made by this user (owner ${found.uid}, mode ${(found.mode & 0o7777).toString(8)}) ` +
      "and cannot be trusted: remove it and start again",
  );
}
