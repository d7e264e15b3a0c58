import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import type { Question } from "./probe.ts";

const main = join(import.meta.dirname, "../../../src/main.ts");
const probe = join(import.meta.dirname, "probe.ts");

/** npm start in a process of its own, which tells how much memory it has. */
export type Engine = {
  api: string;
  secretKey: string;
  pid: number | undefined;
  ask(question: Question): Promise<NodeJS.MemoryUsage>;
  stop(): Promise<void>;
};

export async function startEngine(databaseUrl: string): Promise<Engine> {
  const secretKey = randomBytes(32).toString("hex");
  const child = spawn(process.execPath, ["--import", probe, main], {
    env: {
      ...process.env,
      DATABASE_URL: databaseUrl,
      SECRET_KEY: secretKey,
      PORT: "0",
      LOG_LEVEL: "warn",
    },
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  const api = await addressOf(child);
  return {
    api,
    secretKey,
    pid: child.pid,
    async ask(question) {
      const answered = once(child, "message");
      child.send(question);
      return (await answered)[0];
    },
    async stop() {
      child.kill("SIGTERM");
      if (child.exitCode === null) await once(child, "exit");
    },
  };
}

/** Where the process listens, once it says so. */
async function addressOf(child: ChildProcess): Promise<string> {
  let said = "";
  for await (const chunk of child.stdout ?? []) {
    said += String(chunk);
    const found = /http\S+\/graphql/.exec(said)?.[0];
    if (found) {
      child.stdout?.resume();
      return found;
    }
  }
  throw new Error("the process ended before it listened");
}
