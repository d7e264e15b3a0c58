import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { promisify } from "node:util";

const root = join(import.meta.dirname, "../..");
/** What takes no arguments: it starts something that runs until it is stopped. */
const services = ["start", "worker", "server"];

it("each command line explains itself, whatever the configuration", async () => {
  const { scripts } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  const commands = Object.entries<string>(scripts).filter(
    ([name, text]) => text.startsWith("exec node ") && !services.includes(name),
  );
  assert.equal(commands.length, 7);
  const env = { PATH: process.env["PATH"], PORT: "none", DATABASE_URL: "none" };
  for (const [name, text] of commands) {
    const file = join(root, text.replace("exec node ", ""));
    const { stdout } = await promisify(execFile)(process.execPath, [file, "--help"], { env });
    assert.ok(stdout.startsWith(`npm run ${name}`), `${name}: ${stdout}`);
    assert.match(stdout, /\n {2}--help +this text\n/);
  }
});
