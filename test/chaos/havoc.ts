import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "../../src/database/client.ts";
import type { Manner, OwnServer } from "../outage/own_server.ts";
import type { Workers } from "./workers.ts";

/** Seconds between two acts of each kind, on average. */
export type Rates = { kill: number; restart: number; freeze: number; cut: number; delay: number };

export type Havoc = { counts: Record<keyof Rates | Manner, number>; stop(): Promise<void> };

/** Kills and freezes workers, restarts Postgres, cuts connections and holds locks, at random. */
export function startHavoc(server: OwnServer, workers: Workers, rates: Rates): Havoc {
  const counts = { kill: 0, restart: 0, freeze: 0, cut: 0, delay: 0, fast: 0, immediate: 0 };
  const stopping = new AbortController();
  const { signal } = stopping;
  let restarting: Promise<void> | undefined;

  const acts: Record<keyof Rates, () => Promise<unknown>> = {
    kill: async () => {
      if (workers.signal("SIGKILL")) counts.kill += 1;
    },
    freeze: async () => {
      const frozen = workers.signal("SIGSTOP");
      if (!frozen) return;
      counts.freeze += 1;
      await sleep(500 + Math.random() * 5_000);
      frozen.kill("SIGCONT");
    },
    restart: async () => {
      const manner = Math.random() < 0.5 ? "fast" : "immediate";
      restarting = (async () => {
        await server.end(manner);
        await sleep(Math.random() * 1_000);
        await server.startAgain();
      })();
      await restarting;
      restarting = undefined;
      counts.restart += 1;
      counts[manner] += 1;
    },
    cut: () =>
      asOwner(async (query) => {
        const rows = await query(
          `select pg_terminate_backend(pid) from (
             select pid from pg_stat_activity
             where datname = current_database() and application_name like 'nexus-worker%' order by random() limit 3) c`,
        );
        counts.cut += rows;
      }),
    delay: () =>
      asOwner(async (query) => {
        const lock =
          Math.random() < 0.5
            ? "lock table public.productos in share row exclusive mode"
            : "select nexus_engine.lock_stores(array(select id from public.tiendas order by random() limit 100))";
        await query("begin");
        await query("set local lock_timeout = '2s'");
        await query(lock);
        counts.delay += 1;
        await sleep(500 + Math.random() * 2_000);
        await query("commit");
      }),
  };

  /** Not while Postgres is away. */
  async function asOwner(
    act: (query: (text: string) => Promise<number>) => Promise<void>,
  ): Promise<void> {
    await restarting;
    const client = await connect(server.url, "chaos");
    client.on("error", () => {});
    try {
      await act(async (text) => (await client.query(text)).rowCount ?? 0);
    } finally {
      await client.end().catch(() => {});
    }
  }

  async function repeat(kind: keyof Rates): Promise<void> {
    for (;;) {
      const pauseMs = rates[kind] * 1000 * (0.5 + Math.random());
      await sleep(pauseMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      await acts[kind]().catch((error: unknown) => {
        // One act can spoil another; a server that does not come back is another matter.
        if (kind === "restart") throw error;
      });
    }
  }

  const ended = Promise.all((Object.keys(acts) as (keyof Rates)[]).map(repeat));
  ended.catch(() => {});
  return {
    counts: counts as Havoc["counts"],
    async stop() {
      stopping.abort();
      await ended;
    },
  };
}
