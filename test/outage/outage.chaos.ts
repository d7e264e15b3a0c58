import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Pool } from "pg";
import { freePort } from "../../src/database/embedded/launch.ts";
import { prepareDatabase } from "../../src/database/prepare.ts";
import { createLog } from "../../src/log.ts";
import { until } from "../support/until.ts";
import { type Manner, OwnServer } from "./own_server.ts";
import { assertExact, openShops, ownerPool, type Sales, type Shops, sell } from "./shops.ts";

/** Times that the primary is lost; OUTAGE_ROUNDS=100 for an evening. */
const rounds = Number(process.env.OUTAGE_ROUNDS ?? 25);
const manners: (Manner | "cut")[] = ["fast", "immediate", "kill", "cut"];
const root = join(import.meta.dirname, "../..");

describe("a fleet whose Postgres is lost again and again, and fails over at last", () => {
  let primary: OwnServer;
  let standby: OwnServer;
  let both: string;
  let pool: Pool;
  let shops: Shops;
  let sales: Sales;
  let port: number;
  const fleet: { name: string; process: ChildProcess; output: string[] }[] = [];

  function enlist(name: string, environment: Record<string, string> = {}): void {
    const output: string[] = [];
    const started = spawn(process.execPath, [join(root, `src/${name}.ts`)], {
      env: {
        ...process.env,
        DATABASE_URL: both,
        SECRET_KEY: "una-clave-de-prueba-con-mas-de-32-bytes",
        LOG_LEVEL: "warn",
        ...environment,
      },
    });
    for (const stream of [started.stdout, started.stderr]) {
      stream?.on("data", (chunk) => output.push(String(chunk)));
    }
    fleet.push({ name, process: started, output });
  }
  const ready = async () =>
    (await fetch(`http://127.0.0.1:${port}/health/ready`).catch(() => undefined))?.status === 200;

  before(async () => {
    primary = await OwnServer.start();
    await prepareDatabase(primary.url, createLog("silent"), { createPos: true });
    await primary.end("fast");
    standby = await primary.copyAsStandby();
    await Promise.all([primary.startAgain(), standby.startAgain()]);
    const hosts = `${new URL(primary.url).host},${new URL(standby.url).host}`;
    both = primary.url.replace(/@[^/]+/, `@${hosts}`);
    pool = ownerPool(both);
    shops = await openShops(pool, 20);
    port = await freePort();
    // They start while it is away, and wait for it.
    await primary.end("fast");
    enlist("worker");
    enlist("worker");
    enlist("server", { PORT: String(port) });
    await sleep(2_000);
    await primary.startAgain();
    await until("the fleet is ready", ready, 30_000);
    sales = sell(both, shops);
  });
  after(async () => {
    await sales?.stop();
    for (const { process } of fleet) process.kill("SIGKILL");
    await pool?.end();
    await primary?.destroy();
    await standby?.destroy();
  });

  async function lose(manner: Manner | "cut"): Promise<void> {
    if (manner === "cut") {
      await pool.query(
        `select count(pg_terminate_backend(pid)) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid() and application_name ~ '^(nexus-|sales)'`,
      );
      await sleep(1_000);
      return;
    }
    await primary.end(manner);
    assert.equal(await ready(), false);
    await sleep(Math.random() < 0.3 ? 4_000 : Math.random() * 500);
    await primary.startAgain();
  }

  it("does all of its work, once, and no process ends", async () => {
    const recoveries: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      await sleep(Math.random() * 1_500);
      await lose(manners[round % manners.length] as Manner | "cut");
      const began = performance.now();
      await until("the fleet is ready", ready);
      recoveries.push(performance.now() - began);
    }
    await until("jobs run", async () => {
      const { rows } = await pool.query(
        "select exists (select from graphile_worker._private_jobs where locked_at is not null) as running",
      );
      return rows[0].running;
    });
    // A primary that is shut down hands all it has to a standby that follows it, and to no other.
    await until("the standby follows", async () => {
      const { rowCount } = await pool.query(
        "select from pg_stat_replication where state = 'streaming'",
      );
      return rowCount === 1;
    });
    await primary.end("fast");
    const next = await ownerPool(standby.url).connect();
    await next.query("select pg_promote()");
    next.release(true);
    await until("the fleet is ready", ready);
    await sleep(2_000);
    await sales.stop();
    // A job that has failed three times waits for 20 seconds.
    await assertExact(pool, sales.counts, 90_000);

    for (const { name, process, output } of fleet) {
      assert.equal(process.exitCode, null, `${name} has ended:\n${output.join("").slice(-2_000)}`);
      assert.doesNotMatch(output.join(""), /unhandled|"level":"fatal"/i);
    }
    recoveries.sort((a, b) => a - b);
    console.log(
      `${rounds} losses and a failover; sales ${JSON.stringify(sales.counts)}; ` +
        `ready again after at most ${Math.round(recoveries.at(-1) ?? 0)} ms`,
    );
  });
});
