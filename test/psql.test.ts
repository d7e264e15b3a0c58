import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { choosePlace } from "../src/database/embedded/place.ts";

describe("npm run psql", () => {
  let folder: string;
  let home: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "nexus-psql-"));
    await chmod(folder, 0o755);
    ({ home } = await choosePlace(join(folder, "data")));
  });
  after(async () => {
    await rm(folder, { recursive: true, force: true });
    await rm(home, { recursive: true, force: true });
  });

  const run = async (env: Record<string, string>, ...args: string[]) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, "../src/psql.ts"), ...args], {
      env: { PATH: folder, DATA_DIR: join(folder, "data"), ...env },
    });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk) => {
        text += chunk;
      });
    }
    const code = await new Promise((resolve) => child.on("close", resolve));
    return { code, text };
  };

  it("prints the address where there is no psql, else opens it, and ends as it does", async () => {
    const { text: address } = await run({});
    const url = new URL(/postgres:\/\/\S+/.exec(address)?.[0] ?? "");
    await writeFile(join(folder, "psql"), '#!/bin/sh\necho "$@; $PGPASSWORD"\nexit 3\n', {
      mode: 0o755,
    });
    assert.deepEqual(await run({}, "-c", "select 1"), {
      code: 3,
      text: `-h 127.0.0.1 -p ${url.port} -U postgres -d nexus -c select 1; ${url.password}\n`,
    });
  });

  it("is for the embedded database alone", async () => {
    const { code, text } = await run({
      DATABASE_URL: "postgres://pos:geheim@host/pos",
      SECRET_KEY: "una-clave-de-prueba-con-mas-de-32-bytes",
    });
    assert.equal(code, 1);
    assert.match(text, /^npm run psql opens the embedded database; with DATABASE_URL run psql/);
  });
});
