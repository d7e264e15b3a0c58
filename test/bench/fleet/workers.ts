import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

const worker = join(import.meta.dirname, "../../../src/worker.ts");

export type Workers = { pids: number[]; stop(): Promise<void> };

/** So many processes as npm run worker starts them, all of them running. */
export async function startWorkers(databaseUrl: string, count: number): Promise<Workers> {
  const children = Array.from({ length: count }, () =>
    spawn(process.execPath, [worker], {
      env: {
        ...process.env,
        DATABASE_URL: databaseUrl,
        SECRET_KEY: "k".repeat(32),
        LOG_LEVEL: "warn",
      },
      stdio: ["ignore", "pipe", "inherit"],
    }),
  );
  await Promise.all(children.map(running));
  return {
    pids: children.flatMap(({ pid }) => pid ?? []),
    async stop() {
      await Promise.all(
        children.map(async (child) => {
          child.kill("SIGTERM");
          if (child.exitCode === null) await once(child, "exit");
        }),
      );
    },
  };
}

/** When it has said that it runs; throws when it ends before. */
async function running(child: ChildProcess): Promise<void> {
  const ended = once(child, "exit").then(([code]) => {
    throw new Error(`a worker ended with ${code}`);
  });
  ended.catch(() => {});
  if (child.stdout) await Promise.race([once(child.stdout, "data"), ended]);
  child.stdout?.resume();
}
