import { execFile } from "node:child_process";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { readConfig } from "../../../src/config.ts";

/** What we are compared with, and no dependency of ours. */
export const packages = { "pg-boss": "12.38.0", bullmq: "6.7.0", ioredis: "5.11.1" };

const installMs = 180_000;

/**
 * The folder with these packages, installed on the first call; undefined when they cannot be had.
 */
export async function installPackages(): Promise<string | undefined> {
  const dir = resolve(readConfig().dataDir, "bench-packages");
  const wanted = Object.entries(packages).map(([name, version]) => `${name}@${version}`);
  await mkdir(dir, { recursive: true });
  await copyFile(join(import.meta.dirname, "../../../.npmrc"), join(dir, ".npmrc"));
  await writeFile(
    join(dir, "package.json"),
    JSON.stringify({ private: true, dependencies: packages }, null, 2),
  );
  console.log(`Installing ${wanted.join(", ")} into ${dir}, where they are not yet ...`);
  try {
    await promisify(execFile)("npm", ["install", "--prefer-offline", "--ignore-scripts"], {
      cwd: dir,
      timeout: installMs,
    });
    return dir;
  } catch (error) {
    console.log(`pg-boss and BullMQ are skipped, npm could not install them: ${error}`);
    return undefined;
  }
}
