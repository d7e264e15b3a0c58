import { spawn } from "node:child_process";
import { open } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { decisiveLine, diskIsFull, environment } from "./account.ts";
import { openLog } from "./files.ts";
import type { Place } from "./place.ts";
import { readPidFile } from "./postmaster.ts";

const TAIL_BYTES = 2000;
/** A crash recovery reads up to max_wal_size (1 GB) of log before the server answers. */
export const RECOVERY_MS = 120_000;

const base = {
  listen_addresses: "127.0.0.1",
  // A socket path is limited to 107 bytes, and a socket in /tmp is anybody's.
  unix_socket_directories: "",
  max_connections: "100",
  shared_buffers: "256MB",
  max_locks_per_transaction: "256",
  jit: "off",
  timezone: "UTC",
  log_timezone: "UTC",
  // In the order of the log this is above ERROR, which quotes the values that were wrong, whole. Who
  // sent them is told, and our own log says where it was.
  log_min_messages: "log",
  log_min_error_statement: "panic",
};

export class LaunchFailed extends Error {
  override name = "EmbeddedError";
  readonly passing: boolean;
  readonly code: string | undefined;
  constructor(place: Place, tail: string) {
    super(`The embedded Postgres did not start: ${decisiveLine(tail)}. See ${place.log}`);
    this.code = diskIsFull(tail) ? "ENOSPC" : undefined;
    // The dead server or its last children are still there, or the port was taken a moment ago.
    this.passing = /lock file .* already exists|pre-existing shared memory|could not bind/.test(
      tail,
    );
  }
}

/**
 * Starts a server that outlives this process: in its own session, out of reach of the terminal's
 * Ctrl-C, and with no pipe to us. Resolves when it accepts connections.
 */
export async function launch(
  place: Place,
  port: number,
  settings: Record<string, string>,
): Promise<void> {
  const log = await openLog(place.log);
  const { size: before } = await log.stat();
  const options = Object.entries({ ...base, ...settings, port: String(port) });
  const child = spawn(
    join(place.bin, "postgres"),
    ["-D", place.cluster, ...options.flatMap(([name, value]) => ["-c", `${name}=${value}`])],
    {
      detached: true,
      stdio: ["ignore", log.fd, log.fd],
      cwd: "/",
      env: environment,
      ...place.account,
    },
  );
  let ended: string | undefined;
  child.once("error", (error) => {
    ended = error.message;
  });
  child.once("exit", (code, signal) => {
    ended = `exit ${code ?? signal}`;
  });
  child.unref();
  await log.close();

  const until = Date.now() + RECOVERY_MS;
  while (ended === undefined) {
    const server = await readPidFile(place.cluster);
    if (server?.pid === child.pid && server?.ready) return;
    if (Date.now() > until) throw new Error(`Postgres is not ready yet: see ${place.log}`);
    await sleep(5);
  }
  throw new LaunchFailed(place, `${await tail(place.log, before)}\n(${ended})`);
}

async function tail(file: string, from: number): Promise<string> {
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    const start = Math.max(from, size - TAIL_BYTES);
    const { buffer, bytesRead } = await handle.read({
      buffer: Buffer.alloc(Math.max(size - start, 1)),
      position: start,
    });
    return buffer.toString("utf8", 0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** The preferred port when it is free, or else another one. */
export async function freePort(preferred?: number): Promise<number> {
  for (let tries = 0, port = preferred ?? randomPort(); tries < 50; tries += 1) {
    if (await isFree(port)) return port;
    port = randomPort();
  }
  throw new Error("Found no free port on 127.0.0.1 for Postgres");
}

/** Below 32768, where Linux begins to take the ports of outgoing connections. */
function randomPort(): number {
  return 15_000 + Math.floor(Math.random() * 17_000);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((settle) => {
    const probe = createServer();
    probe.once("error", () => settle(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => settle(true)));
  });
}
