import { readdir, readFile } from "node:fs/promises";

/** Of times in /proc: clock ticks a second, always a hundred on Linux. */
const ticksPerSecond = 100;

/**
 * CPU seconds of a process and all that it has started, those included that have ended. NaN where
 * there is no /proc, or the process is not on this machine.
 */
export async function treeCpu(pid: number): Promise<number> {
  const entries = (await readdir("/proc").catch(() => [])).filter((name) => /^\d+$/.test(name));
  const processes = new Map<number, { parent: number; ticks: number }>();
  for (const entry of entries) {
    const stat = await readFile(`/proc/${entry}/stat`, "utf8").catch(() => undefined);
    // Its second field is a name in brackets, which may have spaces.
    const fields = stat
      ?.slice(stat.lastIndexOf(")") + 2)
      .split(" ")
      .map(Number);
    if (!fields) continue;
    const [parent, ...times] = [fields[1], ...fields.slice(11, 15)] as number[];
    processes.set(Number(entry), {
      parent: parent ?? 0,
      ticks: times.reduce((sum, ticks) => sum + ticks, 0),
    });
  }
  const isOf = (id: number): boolean =>
    id === pid || (processes.has(id) && isOf(processes.get(id)?.parent ?? 0));
  const own = [...processes].filter(([id]) => isOf(id));
  if (own.length === 0) return Number.NaN;
  return own.reduce((sum, [, { ticks }]) => sum + ticks, 0) / ticksPerSecond;
}

/** Milliseconds that these processes, such as backends of Postgres, have been on a CPU. */
export async function cpuOf(pids: readonly number[]): Promise<number> {
  const texts = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/schedstat`, "utf8")));
  return texts.reduce((sum, text) => sum + Number(text.split(" ")[0]) / 1e6, 0);
}

/** The process that has started this one. */
export async function parentOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1] ?? Number.NaN);
}
