import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../../../src/database/embedded/launch.ts";

export type Redis = { url: string; pid: number; stop(): Promise<void> };

const startMs = 10_000;

/**
 * A Redis of its own that keeps an append-only file, written to disk every second; undefined when no
 * redis-server is on the PATH.
 */
export async function startRedis(): Promise<Redis | undefined> {
  const dir = await mkdtemp(join(tmpdir(), "nexus-bench-redis-"));
  const port = await freePort();
  const settings = {
    port,
    bind: "127.0.0.1",
    dir,
    save: "",
    appendonly: "yes",
    appendfsync: "everysec",
  };
  const server = spawn(
    "redis-server",
    Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]),
    { stdio: "ignore" },
  );
  const ended = once(server, "exit").catch(() => {});
  const until = performance.now() + startMs;
  while (server.pid && server.exitCode === null && performance.now() < until) {
    if (await answers(port)) {
      return {
        url: `redis://127.0.0.1:${port}`,
        pid: server.pid,
        async stop() {
          server.kill("SIGTERM");
          await ended;
          await rm(dir, { recursive: true, force: true });
        },
      };
    }
    await sleep(20);
  }
  server.kill("SIGKILL");
  await rm(dir, { recursive: true, force: true });
  return undefined;
}

async function answers(port: number): Promise<boolean> {
  const socket = createConnection({ host: "127.0.0.1", port });
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
