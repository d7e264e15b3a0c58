import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
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
      const busy = await busyWorker().catch(() => undefined);
      if (workers.signal("SIGKILL", busy)) counts.kill += 1;
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

  /** One that runs a job, if one does within two seconds: killing an idle one proves little. */
  async function busyWorker(): Promise<number | undefined> {
    let pid: number | undefined;
    await asOwner(async (_, client) => {
      for (let look = 0; pid === undefined && look < 200; look += 1) {
        const { rows } = await client.query<{ pid: number }>(
          `select w.pid from nexus_engine.worker_pool w
           join graphile_worker._private_jobs j on j.locked_by = w.worker
           where w.heartbeat_at > clock_timestamp() - interval '1.5 seconds'
           order by j.locked_at desc limit 1`,
        );
        pid = rows[0]?.pid;
        if (pid === undefined) await sleep(10);
      }
    });
    return pid;
  }

  /** Not while Postgres is away. */
  async function asOwner(
    act: (query: (text: string) => Promise<number>, client: Client) => Promise<void>,
  ): Promise<void> {
    await restarting;
    const client = await connect(server.url, "chaos");
    client.on("error", () => {});
    try {
      await act(async (text) => (await client.query(text)).rowCount ?? 0, client);
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
