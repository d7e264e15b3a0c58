import { execFileSync } from "node:child_process";
import { rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { Pool } from "pg";
import { OwnServer } from "../outage/own_server.ts";
import { checkOut, listOf, lists } from "./release.ts";

/** node test/deploy/list-release.ts COMMIT: writes down what this release offers, when it becomes the one before. */
const { positionals } = parseArgs({ allowPositionals: true });
const commit = execFileSync("git", ["rev-parse", `${positionals[0] ?? "HEAD"}^{commit}`], {
  encoding: "utf8",
}).trim();
const tree = await checkOut(commit);
const server = await OwnServer.start();
const pool = new Pool({ connectionString: server.url });
pool.on("error", () => {});
try {
  const script = `
    import { prepareDatabase } from ${JSON.stringify(join(tree, "src/database/prepare.ts"))};
    import { createLog } from ${JSON.stringify(join(tree, "src/log.ts"))};
    await prepareDatabase(process.env.URL, createLog("warn"), { createPos: true });`;
  execFileSync(process.execPath, ["--input-type=module", "--eval", script], {
    cwd: tree,
    env: { ...process.env, URL: server.url },
    stdio: "inherit",
  });
  for (const what of ["functions", "columns"] as const) {
    const lines = await listOf(what, pool);
    await writeFile(lists[what], `# ${commit}\n${lines.join("\n")}\n`);
    console.log(`${lines.length} ${what} in ${lists[what]}`);
  }
} finally {
  await pool.end();
  await server.destroy();
  await rm(dirname(tree), { recursive: true, force: true });
}
