import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { TaskList } from "graphile-worker";
import { type Surroundings, toGraphileTask } from "./attempt.ts";
import type { TaskDefinition } from "./define-task.ts";

export const tasksDir = join(import.meta.dirname, "../../tasks");

/** Every file of the folder, wrapped, under the name of its file. */
export async function loadTasks(surroundings: Surroundings, dir = tasksDir): Promise<TaskList> {
  const files = (await readdir(dir)).filter((file) => file.endsWith(".ts")).sort();
  const entries = await Promise.all(
    files.map(async (file) => {
      const identifier = file.replace(/\.ts$/, "");
      const module: { default?: TaskDefinition } = await import(
        pathToFileURL(join(dir, file)).href
      );
      if (!module.default)
        throw new Error(`${join(dir, file)}: expected a default export by defineTask`);
      return [identifier, toGraphileTask(identifier, module.default, surroundings)] as const;
    }),
  );
  return Object.fromEntries(entries);
}
