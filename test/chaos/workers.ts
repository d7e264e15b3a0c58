import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const main = join(import.meta.dirname, "../../src/worker.ts");

/** Worker processes that are started again when they end, as a supervisor of the system would. */
export class Workers {
  readonly #url: string;
  readonly #log: string;
  readonly #slots: (ChildProcess | undefined)[] = [];
  #running = true;
  /** Exits that nobody caused by a signal. */
  readonly exits: (number | null)[] = [];

  constructor(url: string, count: number, log = "silent") {
    this.#url = url;
    this.#log = log;
    for (let slot = 0; slot < count; slot += 1) void this.#keep(slot);
  }

  async #keep(slot: number): Promise<void> {
    while (this.#running) {
      const child = spawn(process.execPath, [main], {
        env: {
          ...process.env,
          DATABASE_URL: this.#url,
          SECRET_KEY: "k".repeat(32),
          LOG_LEVEL: this.#log,
        },
        stdio: ["ignore", "ignore", this.#log === "silent" ? "ignore" : "inherit"],
      });
      this.#slots[slot] = child;
      const [code, signal] = await once(child, "exit");
      this.#slots[slot] = undefined;
      if (signal === null && this.#running) this.exits.push(code);
      await sleep(300);
    }
  }

  /** Sends a signal to the one with this pid, or to whichever lives. */
  signal(signal: NodeJS.Signals, pid?: number): ChildProcess | undefined {
    const living = this.#slots.filter(
      (child) => child !== undefined && (pid === undefined || child.pid === pid),
    );
    const child = living[Math.floor(Math.random() * living.length)];
    child?.kill(signal);
    return child;
  }

  /** Exit codes of those that live, after SIGTERM. */
  async stop(): Promise<number[]> {
    this.#running = false;
    return Promise.all(
      this.#slots
        .filter((child) => child !== undefined)
        .map(async (child) => {
          const exited = once(child, "exit");
          child.kill("SIGCONT");
          child.kill("SIGTERM");
          return (await exited)[0] as number;
        }),
    );
  }

  kill(): void {
    this.#running = false;
    for (const child of this.#slots) child?.kill("SIGKILL");
  }
}
