import { setTimeout as sleep } from "node:timers/promises";
import type { Notification, Pool, PoolClient } from "pg";
import { z } from "zod";
import { backoff } from "../database/away.ts";
import type { Logger } from "../log.ts";
import { within } from "../within.ts";

/** How long to wait before the connection that listens is opened again: at first, and at most. */
const retryMs = { first: 500, most: 8_000 };
/** How often that connection is asked whether it is alive, and how long it may take to say so. */
const heartbeatMs = 20_000;
const answerMs = 10_000;

const ids = z.array(z.guid()).default([]);

/** What nexus_engine.announce and announce_request send; ids only. */
const Announcement = z.union([
  z.strictObject({ many: z.literal(true) }),
  z.strictObject({ request: z.guid() }),
  z.strictObject({ new: ids, changed: ids, resolved: ids }),
]);
export type Announcement = z.infer<typeof Announcement>;

export type Listener = {
  hear(announcement: Announcement): void;
  /**
   * From now on everything is heard, and what came before may have been missed: called once the
   * listener's channel is open, and again when the connection had been lost.
   */
  catchUp(): void;
};

export type Announcements = {
  /** Calls the listener for this store until the returned function is called. */
  listen(tiendaId: string, listener: Listener): () => void;
  /** Gives the connection back; nothing is heard afterwards. */
  close(): Promise<void>;
};

/**
 * Hears what the database announces, on one connection for all the stores that have listeners here.
 * A channel for each store: 10,000 of them are opened in 0.3 s and cost a NOTIFY nothing that can be
 * measured. The connection is taken from the pool with the first listener, and kept.
 */
export function startAnnouncements(pool: Pool, log: Logger): Announcements {
  const listeners = new Map<string, Set<Listener>>();
  /** Channels that have to be opened or closed. */
  const stale = new Set<string>();
  const closing = new AbortController();
  const wait = backoff(retryMs.first, retryMs.most);
  let connection: Connection | undefined;
  let running: Promise<void> | undefined;

  const catchUp = (channel: string) => {
    for (const listener of listeners.get(channel) ?? []) listener.catchUp();
  };

  const onNotification = ({ channel, payload }: Notification) => {
    const parsed = parse(payload);
    if (!parsed) {
      // Whatever else it may be, it is a sign that something changed.
      log.warn({ channel }, "an announcement is not ours");
      catchUp(channel);
      return;
    }
    for (const listener of listeners.get(channel) ?? []) listener.hear(parsed);
  };

  /** Opens and closes channels until none is stale; those that come in meanwhile share a statement. */
  async function fit({ client, open }: Connection): Promise<void> {
    while (stale.size > 0) {
      const channels = [...stale];
      stale.clear();
      const opened = channels.filter((channel) => listeners.has(channel) && !open.has(channel));
      const closed = channels.filter((channel) => !listeners.has(channel) && open.has(channel));
      const statements = [
        ...opened.map((channel) => `listen ${client.escapeIdentifier(channel)}`),
        ...closed.map((channel) => `unlisten ${client.escapeIdentifier(channel)}`),
      ];
      // Before the answer: who listens again meanwhile has to find the channel closed.
      for (const channel of closed) open.delete(channel);
      if (statements.length > 0) await client.query(statements.join(";"));
      for (const channel of opened) {
        open.add(channel);
        catchUp(channel);
      }
    }
  }

  /** Holds one connection until it fails or this closes. */
  async function holdConnection(): Promise<void> {
    const client = await pool.connect();
    const loss = watchFor(client);
    client.on("notification", onNotification);
    const wake = signal();
    connection = { client, open: new Set(), wake };
    for (const channel of listeners.keys()) stale.add(channel);
    try {
      while (!closing.signal.aborted) {
        await loss.orElse(within(answerMs, fit(connection)));
        wait.reset();
        if (stale.size > 0) continue;
        const woken = await loss.orElse(wake.next(heartbeatMs));
        if (!woken) await loss.orElse(within(answerMs, client.query("select 1")));
      }
    } finally {
      connection = undefined;
      // Ends the timer of a wait that the loss of the connection has overtaken.
      wake.ring();
      loss.ignore();
      client.off("notification", onNotification);
      client.release(true);
    }
  }

  async function run(): Promise<void> {
    while (!closing.signal.aborted) {
      await holdConnection().catch(async (err: unknown) => {
        if (closing.signal.aborted) return;
        log.warn({ err }, "announcements are not heard, trying again");
        await sleep(wait.next(), undefined, { signal: closing.signal }).catch(() => {});
      });
    }
  }

  return {
    listen(tiendaId, listener) {
      const channel = `nexus_store:${tiendaId}`;
      const others = listeners.get(channel);
      if (others) others.add(listener);
      else listeners.set(channel, new Set([listener]));
      running ??= run();
      if (connection?.open.has(channel)) listener.catchUp();
      else refit(channel);
      return () => {
        const left = listeners.get(channel);
        if (!left?.delete(listener) || left.size > 0) return;
        listeners.delete(channel);
        refit(channel);
      };
    },
    async close() {
      closing.abort();
      connection?.wake.ring();
      await running;
    },
  };

  function refit(channel: string): void {
    if (!connection) return;
    stale.add(channel);
    connection.wake.ring();
  }
}

type Loss = {
  /** What work gives, or the error with which the connection is lost meanwhile, or was. */
  orElse<T>(work: Promise<T>): Promise<T>;
  ignore(): void;
};

/**
 * Not by a race with one promise for the whole connection: that one would keep what was raced with it
 * for as long as the connection lives.
 */
function watchFor(client: PoolClient): Loss {
  let lost: Error | undefined;
  let interrupt = (_reason: Error) => {};
  const onError = (reason: Error) => {
    lost ??= reason;
    interrupt(reason);
  };
  const onEnd = () => onError(new Error("the connection ended"));
  client.on("error", onError);
  client.on("end", onEnd);
  return {
    orElse: (work) =>
      new Promise((resolve, reject) => {
        interrupt = reject;
        if (lost) reject(lost);
        work.then(resolve, reject);
      }),
    ignore() {
      client.off("error", onError);
      client.off("end", onEnd);
    },
  };
}

type Connection = { client: PoolClient; open: Set<string>; wake: Signal };

type Signal = {
  ring(): void;
  /** True once rung, false after this time. */
  next(ms: number): Promise<boolean>;
};

function signal(): Signal {
  let rung = false;
  let resolve = (_rung: boolean) => {};
  return {
    ring() {
      rung = true;
      resolve(true);
    },
    async next(ms) {
      const waiting = Promise.withResolvers<boolean>();
      resolve = waiting.resolve;
      if (rung) resolve(true);
      const timer = setTimeout(resolve, ms, false);
      const result = await waiting.promise;
      clearTimeout(timer);
      rung = false;
      return result;
    },
  };
}

function parse(payload: string | undefined): Announcement | undefined {
  try {
    return Announcement.parse(JSON.parse(payload ?? ""));
  } catch {
    return undefined;
  }
}
