import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmod,
  chown,
  cp,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { canEnter } from "../../src/database/embedded/account.ts";
import { binariesFor, packageFolder } from "../../src/database/embedded/binaries.ts";
import { choosePlace } from "../../src/database/embedded/place.ts";
import { type EmbeddedPostgres, startEmbedded } from "../../src/database/embedded.ts";

const root = process.getuid?.() === 0;
const onlyRoot = { skip: root ? false : "needs root, to act as several users" };
const settings = { fsync: "off" };
const log = { info: () => undefined, warn: () => undefined };

let varTmp: string[];
let shared: string;
before(async () => {
  varTmp = await readdir("/var/tmp");
  shared = await mkdtemp(join(tmpdir(), "embedded-test-"));
  await chmod(shared, 0o755);
  const db = await start(join(shared, "data"));
  await ask(db, "create table kept as select 42 as answer");
  await db.stop();
});
after(async () => {
  await remove(shared);
  const left = (await readdir("/var/tmp")).filter((name) => !varTmp.includes(name));
  assert.deepEqual(left, [], "folders left in /var/tmp");
  assert.deepEqual(serversIn(join(tmpdir(), "embedded-test-")), [], "servers left running");
});

/** A folder that goes away after the test, with every server in it. */
async function temporary(t: TestContext, parent = tmpdir()): Promise<string> {
  const folder = await mkdtemp(join(parent, "embedded-test-"));
  await chmod(folder, 0o755);
  t.after(() => remove(folder));
  return folder;
}

/** The folder of a database that exists already, its server stopped. */
function prepared(t: TestContext): string {
  t.after(() => killServers(shared));
  return join(shared, "data");
}

async function remove(folder: string): Promise<void> {
  await killServers(folder);
  await rm(folder, { recursive: true, force: true, maxRetries: 10 });
}

async function killServers(folder: string): Promise<void> {
  for (const pid of serversIn(folder)) process.kill(pid, "SIGQUIT");
  while (serversIn(folder).length > 0) await sleep(20);
}

function serversIn(folder: string): number[] {
  const list = execFileSync("ps", ["-A", "-o", "pid=,stat=,args="], { encoding: "utf8" });
  return list
    .split("\n")
    .filter((line) => line.includes(`/postgres -D ${folder}`) && !/^\s*\d+\s+Z/.test(line))
    .map((line) => Number.parseInt(line, 10));
}

function start(dataDir: string): Promise<EmbeddedPostgres> {
  return startEmbedded({ dataDir, log, settings });
}

async function ask(db: { connectionString: string }, sql: string): Promise<unknown> {
  const client = new pg.Client(db.connectionString);
  await client.connect();
  try {
    const { rows } = await client.query({ text: sql, rowMode: "array" });
    return rows[0]?.[0];
  } finally {
    await client.end();
  }
}

async function pidOf(db: EmbeddedPostgres): Promise<number> {
  return Number.parseInt(await readFile(join(db.dataDir, "cluster", "postmaster.pid"), "utf8"), 10);
}

type Starter = { child: ChildProcess; db: Omit<EmbeddedPostgres, "stop"> };
type Ids = { uid: number; gid: number };

/** Starts Postgres from a process of its own, which stops it on SIGTERM. */
async function startElsewhere(t: TestContext, dataDir: string, ids?: Ids): Promise<Starter> {
  const script = `
    import { startEmbedded } from ${JSON.stringify(import.meta.resolve("../../src/database/embedded.ts"))};
    const log = { info() {}, warn() {} };
    const db = await startEmbedded({ dataDir: process.argv[1], log, settings: { fsync: "off" } });
    const alive = setInterval(() => {}, 1000);
    process.once("SIGTERM", async () => { await db.stop(); clearInterval(alive); });
    console.log(JSON.stringify(db));
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script, dataDir], {
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
    cwd: "/",
    env: { HOME: dataDir },
    ...ids,
  });
  t.after(() => child.kill("SIGKILL"));
  const [line] = await Promise.race([
    once(createInterface({ input: child.stdout }), "line"),
    once(child, "exit").then(([code]) => assert.fail(`the starter exited with ${code}`)),
  ]);
  return { child, db: JSON.parse(line) };
}

async function stopElsewhere({ child }: Starter): Promise<void> {
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  assert.deepEqual(await exited, [0, null]);
}

function nobody(): Ids {
  const id = (flag: string) => Number(execFileSync("id", [flag, "nobody"], { encoding: "utf8" }));
  return { uid: id("-u"), gid: id("-g") };
}

test("a cold start makes a Postgres 18 with a database nexus, closed to everybody else", async (t) => {
  const dataDir = join(await temporary(t), "not", "yet", "there");
  const db = await start(dataDir);
  assert.equal(db.how, "initialised");
  assert.equal(db.dataDir, dataDir);
  assert.match(String(await ask(db, "show server_version")), /^18\./);
  assert.equal(await ask(db, "select current_database()"), "nexus");
  assert.equal(await ask(db, "select rolsuper from pg_roles where rolname = current_user"), true);
  assert.equal(
    await ask(
      db,
      "select concat_ws(' ', pg_encoding_to_char(encoding), datlocprovider, datlocale, datcollate) " +
        "from pg_database where datname = 'nexus'",
    ),
    "UTF8 b C.UTF-8 C",
  );
  const shown = {
    TimeZone: "UTC",
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    max_connections: "100",
    shared_buffers: "256MB",
    max_locks_per_transaction: "256",
    jit: "off",
    fsync: "off",
  };
  for (const [name, value] of Object.entries(shown)) {
    assert.equal(await ask(db, `show ${name}`), value, name);
  }

  assert.equal((await stat(join(dataDir, "server.json"))).mode & 0o777, 0o600);
  assert.equal((await stat(join(dataDir, "postgres.log"))).mode & 0o777, 0o600);
  assert.equal((await stat(join(dataDir, "cluster"))).mode & 0o777, 0o700);
  const { password } = new URL(db.connectionString);
  assert.ok(!execFileSync("ps", ["-A", "-o", "args="], { encoding: "utf8" }).includes(password));
  const intruder = db.connectionString.replace(password, "guess");
  await assert.rejects(ask({ connectionString: intruder }, "select 1"), { code: "28P01" });

  assert.equal(db.stop(), db.stop());
  await db.stop();
  assert.deepEqual(serversIn(dataDir), []);
});

test("a second start attaches, and the server stops with the last of the two", async (t) => {
  const dataDir = prepared(t);
  const first = await start(dataDir);
  const second = await start(dataDir);
  assert.equal(second.how, "attached");
  assert.equal(second.connectionString, first.connectionString);
  await first.stop();
  assert.equal(await ask(second, "select 1"), 1);
  await second.stop();
  assert.deepEqual(serversIn(dataDir), []);
  const third = await start(dataDir);
  assert.equal(third.how, "started");
});

test("stop leaves the server to a client that is still connected", async (t) => {
  const db = await start(prepared(t));
  const client = new pg.Client(db.connectionString);
  await client.connect();
  try {
    await db.stop();
    assert.equal((await client.query("select 1 as one")).rows[0].one, 1);
  } finally {
    await client.end();
  }
});

test("stop does not take a client that has just died for a connected one", async (t) => {
  const db = await start(prepared(t));
  const client = new pg.Client(db.connectionString);
  client.on("error", () => undefined);
  await client.connect();
  // Its backend notices at the end of the query.
  const lost = assert.rejects(client.query("select pg_sleep(0.1)"));
  await sleep(20);
  client.connection.stream.destroy();
  await db.stop();
  await lost;
  assert.deepEqual(serversIn(db.dataDir), []);
});

test("stop asks again when the server is recovering from a crash", async (t) => {
  const db = await start(prepared(t));
  const other = await start(db.dataDir);
  const backend = await ask(
    db,
    "select pid from pg_stat_activity where backend_type = 'checkpointer'",
  );
  process.kill(Number(backend), "SIGKILL");
  await db.stop();
  await other.stop();
  assert.deepEqual(serversIn(db.dataDir), []);
});

test("starting and stopping at the same time do not break each other", async (t) => {
  const dataDir = prepared(t);
  const round = async () => {
    for (let i = 0; i < 4; i += 1) {
      const db = await start(dataDir);
      assert.equal(await ask(db, "select 1"), 1);
      await db.stop();
    }
  };
  await Promise.all([round(), round(), round()]);
  assert.deepEqual(serversIn(dataDir), []);
});

test("after a kill -9 of the postmaster a start finds the data", async (t) => {
  const db = await start(prepared(t));
  process.kill(await pidOf(db), "SIGKILL");
  const again = await start(db.dataDir);
  assert.equal(again.how, "started");
  assert.equal(await ask(again, "select answer from kept"), 42);
  await db.stop();
  assert.equal(await ask(again, "select 1"), 1, "stopped by one who had lost the server");
});

test("a server that is to be kept running comes back after a kill -9, until it is stopped", async (t) => {
  const db = await startEmbedded({ dataDir: prepared(t), log, settings, keepRunning: true });
  for (let i = 0; i < 2; i += 1) {
    const pid = await pidOf(db);
    process.kill(pid, "SIGKILL");
    while ((await pidOf(db)) === pid) await sleep(20);
    while (!(await ask(db, "select answer from kept").catch(() => false))) await sleep(20);
  }
  await db.stop();
  assert.deepEqual(serversIn(db.dataDir), []);
});

test("a dead postmaster that is still a zombie does not block a start", async (t) => {
  const dataDir = prepared(t);
  const starter = await startElsewhere(t, dataDir);
  const pid = Number.parseInt(
    await readFile(join(dataDir, "cluster", "postmaster.pid"), "utf8"),
    10,
  );
  starter.child.kill("SIGSTOP");
  process.kill(pid, "SIGKILL");
  const db = await start(dataDir);
  process.kill(pid, 0);
  assert.equal(db.how, "started");
  assert.equal(await ask(db, "select 1"), 1);
});

test("a postmaster.pid whose pid belongs to another process now does not block a start", async (t) => {
  const db = await start(prepared(t));
  const file = join(db.dataDir, "cluster", "postmaster.pid");
  const stale = await readFile(file, "utf8");
  await db.stop();
  const { uid, gid } = await stat(join(db.dataDir, "cluster"));
  const stranger = spawn("sleep", ["60"], root ? { uid, gid } : {});
  t.after(() => stranger.kill("SIGKILL"));
  for (const content of [stale.replace(/^\d+/, String(stranger.pid)), ""]) {
    await writeFile(file, content);
    await chown(file, uid, gid);
    const again = await start(db.dataDir);
    assert.equal(again.how, "started");
    await again.stop();
  }
  assert.equal(stranger.signalCode, null);
  assert.deepEqual(serversIn(db.dataDir), []);
});

test("of two cold starters in two processes one initialises and the other attaches", async (t) => {
  const dataDir = await temporary(t);
  const both = await Promise.all([startElsewhere(t, dataDir), startElsewhere(t, dataDir)]);
  assert.deepEqual(both.map(({ db }) => db.how).sort(), ["attached", "initialised"]);
  await Promise.all(both.map(stopElsewhere));
  assert.deepEqual(serversIn(dataDir), []);
  const warm = await Promise.all([startElsewhere(t, dataDir), startElsewhere(t, dataDir)]);
  assert.deepEqual(warm.map(({ db }) => db.how).sort(), ["attached", "started"]);
});

test("the server outlives its starter and the whole process group of it", async (t) => {
  const dataDir = prepared(t);
  const { child } = await startElsewhere(t, dataDir);
  const exited = once(child, "exit");
  assert.ok(child.pid);
  process.kill(-child.pid, "SIGKILL");
  await exited;
  const db = await start(dataDir);
  assert.equal(db.how, "attached");
  await db.stop();
  assert.deepEqual(serversIn(dataDir), []);
});

test("a starter killed in the middle of initdb leaves nothing in the way", async (t) => {
  const dataDir = await temporary(t);
  const starting = startElsewhere(t, dataDir).catch(() => undefined);
  const drafts = async () => (await readdir(dataDir)).filter((name) => name.startsWith("initdb-"));
  while ((await drafts()).length === 0) await sleep(5);
  const starters = execFileSync("pgrep", ["-f", `input-type=module.* ${dataDir}$`], {
    encoding: "utf8",
  });
  for (const pid of starters.trim().split("\n")) process.kill(Number(pid), "SIGKILL");
  await starting;
  const db = await start(dataDir);
  assert.equal(db.how, "initialised");
  assert.equal(await ask(db, "select current_database()"), "nexus");
});

test("a port that is taken is exchanged for another one, which is remembered", async (t) => {
  const db = await start(prepared(t));
  const { port } = new URL(db.connectionString);
  await db.stop();
  const squatter = createServer().listen(Number(port), "127.0.0.1");
  await once(squatter, "listening");
  t.after(() => squatter.close());
  const moved = await start(db.dataDir);
  assert.notEqual(new URL(moved.connectionString).port, port);
  assert.equal(await ask(moved, "select 1"), 1);
  await moved.stop();
  squatter.close();
  const again = await start(db.dataDir);
  assert.equal(again.connectionString, moved.connectionString);
});

test("a server that cannot start is reported with the end of its log", async (t) => {
  const dataDir = prepared(t);
  const refused = startEmbedded({ dataDir, log, settings: { ...settings, work_mem: "plenty" } });
  await assert.rejects(refused, /invalid value for parameter "work_mem": "plenty"/);
});

test("the log starts anew when it has grown large", async (t) => {
  const db = await start(prepared(t));
  await db.stop();
  const file = join(db.dataDir, "postgres.log");
  await writeFile(file, Buffer.alloc(10 * 1024 * 1024 + 1));
  await start(db.dataDir);
  assert.ok((await stat(file)).size < 100_000);
});

test("the log is put aside while the server runs, and one before is kept", async (t) => {
  const dataDir = prepared(t);
  const db = await startEmbedded({ dataDir, log, settings, logLimit: 20_000 });
  const file = join(db.dataDir, "postgres.log");
  const server = new pg.Client(db.connectionString);
  await server.connect();
  await server.query("set log_min_messages = 'notice'");
  const fill = async (size: number) => {
    await server.query(`do $$ begin raise notice '%', repeat('x', ${size}); end $$`);
    while ((await stat(file)).size > 20_000) await sleep(20);
  };
  await fill(30_000);
  assert.ok((await stat(`${file}.1`)).size > 30_000);
  await fill(40_000);
  assert.ok((await stat(`${file}.1`)).size > 40_000);
  await server.end();
  await db.stop();
});

test("a bad value leaves nothing in the log", async (t) => {
  const db = await start(prepared(t));
  const file = join(db.dataDir, "postgres.log");
  const { size } = await stat(file);
  await assert.rejects(ask(db, `select '${"geheim".repeat(10_000)}'::uuid`), { code: "22P02" });
  const left = (await readFile(file, "utf8")).slice(size);
  assert.doesNotMatch(left, /geheim/);
  await db.stop();
});

test(
  "root: a folder that Postgres cannot enter gives way to one in /var/tmp",
  onlyRoot,
  async (t) => {
    const closed = await temporary(t, homedir());
    await chmod(closed, 0o700);
    const dataDir = join(closed, "data");
    const db = await start(dataDir);
    t.after(() => remove(db.dataDir));
    assert.match(db.dataDir, /^\/var\/tmp\//);
    assert.equal((await stat(db.dataDir)).uid, 0);
    assert.equal(await ask(db, "select 1"), 1);
    await db.stop();
    const again = await start(dataDir);
    assert.equal(again.how, "started");
    assert.equal(again.dataDir, db.dataDir);
  },
);

test("root: a folder in /var/tmp that others could have made is refused", onlyRoot, async (t) => {
  const closed = await temporary(t, homedir());
  await chmod(closed, 0o700);
  const copies = await temporary(t);
  const { home } = await choosePlace(join(closed, "data"), copies);
  const { uid, gid } = nobody();
  await chown(home, uid, gid);
  await assert.rejects(choosePlace(join(closed, "data"), copies), /was not made by this user/);
  await chown(home, 0, 0);
  await chmod(home, 0o777);
  await assert.rejects(choosePlace(join(closed, "data"), copies), /was not made by this user/);
});

test("root: binaries that Postgres cannot reach are copied once", onlyRoot, async (t) => {
  const closed = await temporary(t, homedir());
  const source = join(closed, "package");
  await cp(packageFolder(), source, { recursive: true, verbatimSymlinks: true });
  await rm(join(source, "native", "lib", "libicui18n.so.60"), { force: true });
  await chmod(closed, 0o700);
  await chmod(join(source, "native", "bin"), 0o700);
  const copies = await temporary(t);
  const account = nobody();

  const [bin, same] = await Promise.all([
    binariesFor(account, source, copies),
    binariesFor(account, source, copies),
  ]);
  assert.equal(same, bin);
  assert.ok(bin.startsWith(copies));
  for (const name of ["initdb", "postgres"]) {
    const version = execFileSync(join(bin, name), ["--version"], { ...account, cwd: "/" });
    assert.match(String(version), /18\./);
  }
  const [copy, ...rest] = await readdir(copies);
  assert.deepEqual(rest, []);
  const linked = await readdir(join(source, "native", "lib"), { withFileTypes: true });
  for (const { name } of linked.filter((entry) => entry.isSymbolicLink())) {
    assert.ok((await lstat(join(copies, String(copy), "lib", name))).isSymbolicLink(), name);
  }

  await chown(join(copies, String(copy)), account.uid, account.gid);
  await assert.rejects(binariesFor(account, source, copies), /was not made by this user/);
});

test(
  "root: an ordinary user's database is served as that user, by whoever starts it",
  onlyRoot,
  async (t) => {
    const ids = nobody();
    const here = join(import.meta.dirname, "..", "..");
    if (!(await canEnter(ids, here))) return t.skip(`user nobody cannot enter ${here}`);
    const home = await temporary(t);
    await chown(home, ids.uid, ids.gid);
    const dataDir = join(home, "data");

    const first = await startElsewhere(t, dataDir, ids);
    assert.equal(first.db.how, "initialised");
    assert.equal(first.db.dataDir, dataDir);
    assert.equal(await ask(first.db, "select 1"), 1);
    await stopElsewhere(first);
    assert.deepEqual(serversIn(dataDir), []);

    await rm(join(dataDir, "postgres.log"));
    await rename(join(dataDir, "lock"), join(dataDir, "no-lock"));
    const asRoot = await start(dataDir);
    assert.equal(asRoot.how, "started");
    await asRoot.stop();

    const second = await startElsewhere(t, dataDir, ids);
    assert.equal(second.db.how, "started");
    await stopElsewhere(second);
    assert.deepEqual(serversIn(dataDir), []);
  },
);

test("root: an ordinary user is told whose database it is", onlyRoot, async (t) => {
  const home = await temporary(t);
  await mkdir(join(home, "data"), { mode: 0o711 });
  const script = `
    import { choosePlace } from ${JSON.stringify(import.meta.resolve("../../src/database/embedded/place.ts"))};
    await choosePlace(process.argv[1]).catch((error) => console.log(error.message));
  `;
  const here = join(import.meta.dirname, "..", "..");
  if (!(await canEnter(nobody(), here))) return t.skip(`user nobody cannot enter ${here}`);
  const said = execFileSync(
    process.execPath,
    ["--input-type=module", "-e", script, join(home, "data")],
    { ...nobody(), cwd: "/", encoding: "utf8" },
  );
  assert.match(said, /belongs to user 0: start as that user/);
});
