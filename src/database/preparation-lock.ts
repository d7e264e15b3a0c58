import type { Client } from "pg";
import { connect } from "./client.ts";

/** Held by the one process that prepares the database. */
export const preparationLock = 7_041_948_524;

/** Takes the lock of those who prepare this database, until the connection ends; false while another has it. */
export async function lockPreparation(client: Client): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>(
    "select pg_try_advisory_lock($1) as locked",
    [preparationLock],
  );
  return rows[0]?.locked ?? false;
}

export type Background = {
  /** Settles when it is done, or was stopped. */
  ended: Promise<void>;
  stop(): Promise<void>;
};

/** Runs it in the background of a process that serves already. */
export function inBackground(run: (signal: AbortSignal) => Promise<void>): Background {
  const stopping = new AbortController();
  const ended = run(stopping.signal);
  return {
    ended,
    stop: () => {
      stopping.abort();
      return ended;
    },
  };
}

/**
 * Does the work with the lock, on a connection of its own that ends with `signal`. Undefined where another
 * process is about it.
 */
export async function prepareAlone<T>(
  ownerUrl: string,
  name: string,
  signal: AbortSignal,
  work: (client: Client) => Promise<T>,
): Promise<T | undefined> {
  const client = await connect(ownerUrl, name);
  const end = () => client.end();
  signal.addEventListener("abort", end);
  try {
    // It may have been stopped while it connected.
    signal.throwIfAborted();
    await endWithClient(client);
    return (await lockPreparation(client)) ? await work(client) : undefined;
  } finally {
    signal.removeEventListener("abort", end);
    await client.end();
  }
}

/** What was stopped, or killed, must not go on with the lock that the next start waits for. */
export async function endWithClient(client: Client): Promise<void> {
  await client.query("set client_connection_check_interval = 250");
}
