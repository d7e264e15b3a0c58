import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Pool } from "pg";
import { LaunchFailed } from "../src/database/embedded/launch.ts";
import type { Place } from "../src/database/embedded/place.ts";
import { prepareDatabase } from "../src/database/prepare.ts";
import { explainFailure, noteTarget } from "../src/database/start-failure.ts";
import { createLog } from "../src/log.ts";
import { sentenceFor } from "../src/process.ts";
import { startEngineUnderTest } from "./outage/engine_under_test.ts";
import {
  createEmptyDatabase,
  createTestDatabase,
  serverUrl,
  type TestDatabase,
} from "./support/database.ts";

const log = createLog("silent");

describe("a start that fails", () => {
  let db: TestDatabase;
  let empty: TestDatabase;
  let others: Server;

  before(async () => {
    db = await createTestDatabase();
    empty = await createEmptyDatabase();
    await db.pool.query(
      "do $$ begin create role pos_stranger login password 'pos'; exception when duplicate_object then null; end $$",
    );
    others = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => others.listen(0, "127.0.0.1", resolve));
  });
  after(async () => {
    others.close();
    await db.drop();
    await empty.drop();
    const server = new Pool({ connectionString: serverUrl(), max: 1 });
    await server.query("drop owned by pos_stranger; drop role pos_stranger");
    await server.end();
  });

  const url = (change: (url: URL) => void) => {
    const changed = new URL(db.url);
    change(changed);
    return changed.toString();
  };
  const sentence = async (connectionString: string) => {
    const error = await prepareDatabase(connectionString, log, { patienceMs: 0 }).then(
      () => assert.fail("it did not fail"),
      (thrown: unknown) => thrown,
    );
    return sentenceFor(error);
  };
  const address = () => new URL(db.url).host;

  it("says in a sentence what was found where, and what to do", async () => {
    const stranger = (u: URL) => {
      u.username = "pos_stranger";
      u.password = "pos";
    };
    const { port } = others.address() as { port: number };
    for (const [connectionString, expected] of [
      [
        url((u) => {
          u.password = "geheim";
        }),
        `Postgres at ${address()} does not take the password of the login "postgres"`,
      ],
      [
        url((u) => {
          u.username = "nadie";
        }),
        'does not take the password of the login "nadie"',
      ],
      [
        url((u) => {
          u.pathname = "/no_hay";
        }),
        `Postgres at ${address()} has no database "no_hay"`,
      ],
      [
        url((u) => {
          u.search = "?sslmode=verify-full";
        }),
        `Postgres at ${address()} does not offer SSL`,
      ],
      [
        url((u) => {
          u.search = "?host=127.0.0.1&port=1";
        }),
        "Nobody listens at 127.0.0.1:1: check host and port",
      ],
      [
        url((u) => {
          u.search = "?host=/no/hay&port=6000";
        }),
        "There is no socket /no/hay/.s.PGSQL.6000",
      ],
      [
        url((u) => {
          u.hostname = "no-hay.invalid";
        }),
        'No host has the name "no-hay.invalid"',
      ],
      [
        url((u) => {
          u.port = String(port);
        }),
        `Postgres at 127.0.0.1:${port} closed the connection at once`,
      ],
      [
        url((u) => {
          u.search = "?sslrootcert=/no/hay.pem";
        }),
        "There is no file /no/hay.pem: check sslrootcert",
      ],
      [
        url(stranger),
        'At the step "rights": The login "pos_stranger" of DATABASE_URL lacks rights.',
      ],
      [empty.url, `is not one of Nexus POS: check the name in the URL`],
    ] as const) {
      const said = await sentence(connectionString);
      assert.ok(said.includes(expected), `${expected}\ngot ${said}`);
      assert.doesNotMatch(said, /geheim|\n\s+at /);
    }
  });

  it("lists all that an owner of the POS's tables lacks, and nothing that it has", async () => {
    const owned = url((u) => {
      u.username = "pos_stranger";
      u.password = "pos";
      u.pathname = new URL(empty.url).pathname;
    });
    const name = new URL(empty.url).pathname.slice(1);
    await empty.pool.query("grant create on schema public to pos_stranger");
    const lacking = async (serves = true) => {
      const asked = { halves: { serves } };
      const failed = await prepareDatabase(owned, log, {
        ...asked,
        patienceMs: 0,
        createPos: true,
      }).then(() => assert.fail("it did not fail"), sentenceFor);
      return failed.split("\n").filter((line) => line.endsWith(";"));
    };
    const is16 =
      Number((await empty.pool.query("show server_version_num")).rows[0].server_version_num) >=
      160_000;
    // The roles of this cluster were made by another login.
    const roles = is16
      ? [
          "grant nexus_owner to pos_stranger with inherit true, set true;",
          "grant nexus_server to pos_stranger with inherit false, set true;",
        ]
      : ["grant nexus_owner to pos_stranger;", "grant nexus_server to pos_stranger;"];
    const database = `grant create on database ${name} to pos_stranger;`;
    assert.deepEqual(await lacking(), [...roles, database]);
    await empty.pool.query(database);
    assert.deepEqual(await lacking(), roles);
    // Without the API its right is not asked for.
    assert.deepEqual(await lacking(false), roles.slice(0, 1));
    await empty.pool.query(roles[0] ?? "");
    assert.deepEqual(await lacking(), roles.slice(1));
  });

  it("names what cannot be tried here", () => {
    const target = { host: "db", port: 5432, user: "pos", database: "pos" };
    const of = (error: Error & { code?: string }) => explainFailure(noteTarget(error, target));
    const server = (code: string, message = "") => of(Object.assign(new Error(message), { code }));
    assert.match(
      server(
        "28000",
        'no pg_hba.conf entry for host "1", user "pos", database "pos", no encryption',
      ) ?? "",
      /only with SSL.*sslmode=verify-full/,
    );
    assert.match(
      server("28000", 'role "pos" does not exist') ?? "",
      /does not take the login "pos"/,
    );
    assert.match(server("53300") ?? "", /no connection left/);
    assert.match(server("53100") ?? "", /^Postgres at db:5432 has no room left on its disk/);
    assert.match(server("25006") ?? "", /takes no writes, it is a standby/);
    assert.match(server("57P03") ?? "", /starts, stops or recovers/);
    assert.match(server("SELF_SIGNED_CERT_IN_CHAIN") ?? "", /sslrootcert=FILE/);
    assert.match(server("ERR_TLS_CERT_ALTNAME_INVALID") ?? "", /another name than "db"/);
    assert.match(
      server("08P01", "unsupported startup parameter: options") ?? "",
      /\?pgbouncer=true/,
    );
    assert.match(of(new Error("timeout expired")) ?? "", /does not answer within 10 seconds/);
    // The same as a pool has it, such as that of WORKER_DATABASE_URL.
    const cause = noteTarget(new Error("Connection terminated unexpectedly"), target);
    const late = new Error("Connection terminated due to connection timeout", { cause });
    assert.match(explainFailure(late) ?? "", /^Postgres at db:5432 does not answer within 10 s/);
  });

  it("says so when the disk of the embedded Postgres is full", () => {
    const place = { log: "/data/postgres.log" } as Place;
    const full = "FATAL:  could not write lock file: No space left on device\n(exit 1)";
    assert.match(sentenceFor(new LaunchFailed(place, full)), /^There is no room left on the disk/);
    assert.equal(
      sentenceFor(new LaunchFailed(place, "2026-11-28 00:00:00 UTC FATAL:  whatever\n(exit 1)")),
      "The embedded Postgres did not start: whatever. See /data/postgres.log",
    );
  });

  it("finds out that the worker's way through PgBouncer is wrong before a job does", async () => {
    const pooled = url((u) => {
      u.password = "geheim";
      u.search = "?pgbouncer=true";
    });
    const failed = await startEngineUnderTest(db.url, { WORKER_DATABASE_URL: pooled }).then(
      async ({ engine }) => {
        await engine.stop();
        assert.fail("it did not fail");
      },
      sentenceFor,
    );
    assert.match(failed, /does not take the password of the login "postgres"/);
  });

  it("names the port that is taken", async () => {
    const { port } = others.address() as { port: number };
    const failed = await startEngineUnderTest(db.url, { PORT: String(port) }).then(
      () => assert.fail("it did not fail"),
      sentenceFor,
    );
    assert.equal(
      failed,
      `Something listens on port ${port} of 127.0.0.1 already: end it, or set another PORT.`,
    );
  });

  it("exits with 1, with nothing but the sentence and lines of the log on standard error", async () => {
    const child = spawn(process.execPath, [join(import.meta.dirname, "../src/server.ts")], {
      env: {
        PATH: process.env.PATH,
        DATABASE_URL: url((u) => {
          u.password = "geheim";
          u.search = "?sslmode=no-verify";
        }),
        SECRET_KEY: "una-clave-de-prueba-con-mas-de-32-bytes",
      },
    });
    let text = "";
    child.stderr.on("data", (chunk) => {
      text += chunk;
    });
    const [code] = await new Promise<[number]>((resolve) =>
      child.on("close", (n) => resolve([n ?? 0])),
    );
    const lines = text
      .trim()
      .split("\n")
      .filter((line) => !line.startsWith("{"));
    assert.deepEqual([code, lines.length], [1, 1], text);
    assert.match(lines[0] ?? "", /does not offer SSL/);
    assert.doesNotMatch(text, /geheim/);
  });
});
