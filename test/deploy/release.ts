import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Pool } from "pg";

const exec = promisify(execFile);
const root = join(import.meta.dirname, "../..");

/** What the release before offers to its workers and servers, which still run during a deploy. */
export const lists = {
  functions: join(import.meta.dirname, "released-functions.txt"),
  columns: join(import.meta.dirname, "released-columns.txt"),
};

const queries = {
  functions: `
    select format('%s.%s(%s) returns %s', n.nspname, p.proname, pg_get_function_arguments(p.oid),
      coalesce(pg_get_function_result(p.oid), 'nothing')) as line
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('nexus_engine', 'nexus_api')
    order by 1`,
  columns: `
    select format('%s.%s.%s %s', n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod)) as line
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p', 'v', 'm')
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('nexus_engine', 'nexus_api') and a.attnum > 0 and not a.attisdropped
    order by 1`,
};

/** A line for each function, or for each column, of a database. */
export async function listOf(what: keyof typeof lists, pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ line: string }>(queries[what]);
  return rows.map(({ line }) => line);
}

/** The committed list, and the commit that it was made from: its first line. */
export async function released(
  what: keyof typeof lists,
): Promise<{ commit: string; lines: string[] }> {
  const [first = "", ...lines] = (await readFile(lists[what], "utf8")).trim().split("\n");
  const commit = /^# ([0-9a-f]{40})$/.exec(first)?.[1];
  if (!commit) throw new Error(`${lists[what]}: expected "# <commit>" in the first line`);
  return { commit, lines };
}

/** Why the tree of this commit cannot be had, or false. */
export async function withoutHistory(commit: string): Promise<string | false> {
  return exec("git", ["cat-file", "-e", `${commit}^{tree}`], { cwd: root }).then(
    () => false,
    () => `the history has no commit ${commit.slice(0, 7)}: this is no clone, or a shallow one`,
  );
}

/** The tree of this commit in a folder of its own, with the packages of now. */
export async function checkOut(commit: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "nexus-release-"));
  const archive = join(folder, "tree.tar");
  const tree = join(folder, "tree");
  await exec("git", ["archive", "--output", archive, commit], { cwd: root });
  await mkdir(tree);
  await exec("tar", ["-xf", archive, "-C", tree]);
  await symlink(join(root, "node_modules"), join(tree, "node_modules"));
  return tree;
}
