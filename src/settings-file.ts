import type { Client } from "pg";
import { z } from "zod";
import { sqlState } from "./database/away.ts";
import { isDetached } from "./database/migrate.ts";
import { expectation } from "./expectations.ts";
import { UsageError } from "./process.ts";

/** Any that Postgres takes: those of the POS need not be of a version of the standard. */
const uuid = z.guid({ error: "expected a UUID" });
const time = z
  .string()
  .regex(/^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?$/, "expected a time from 00:00 to 23:59");
const threshold = z.number().min(0).max(1_000_000);
const tipo = z.string().regex(/^[A-Z][A-Z0-9_]{0,62}$/, "expected a type of insights");

/** A store's own settings; the others are the defaults. Whether a time zone exists, the database says. */
const Settings = z
  .strictObject({
    time_zone: z.string(),
    summary_time: time,
    weekly_summary_dow: z.number().int().min(1).max(7),
    weekly_summary_time: time,
    low_stock_threshold: threshold,
    critical_threshold: threshold,
    lead_time_days: z.number().int().min(0).max(365),
    day_starts_at: time,
    counted_pending_methods: z
      .array(z.string().regex(/^\S(.{0,48}\S)?$/, "expected the name of a payment method"))
      .max(20),
    muted_types: z.array(tipo).max(100),
  })
  .partial();

/** What npm run export writes and npm run import reads. */
const SettingsFile = z.strictObject({
  version: z.literal(1, {
    error: ({ input }) =>
      `expected 1 (this release reads no other), got ${input === undefined ? "nothing" : JSON.stringify(input)}`,
  }),
  stores: z.array(z.strictObject({ tienda_id: uuid, settings: Settings })),
  products: z.array(z.strictObject({ producto_id: uuid, min_stock: threshold })),
  operators: z.array(uuid),
  insight_types: z.array(
    z.strictObject({
      tipo,
      enabled: z.boolean(),
      params: z.record(z.string(), z.json()),
    }),
  ),
});

export type SettingsFile = z.infer<typeof SettingsFile>;
export type LeftOut = { path: string; value: string };

/** What kinds of entries are counted, in the order of the file. */
const kinds = ["stores", "products", "operators", "insight_types"] as const;

/** How many there are of each, besides those that were left out as a whole. */
export function describeSettings(file: SettingsFile, leftOut: LeftOut[] = []): string {
  const counted = (kind: (typeof kinds)[number]) => {
    // Of `stores[0].settings.muted_types` the store itself was set.
    const entry = new RegExp(`^${kind}\\[\\d+\\](\\.\\w+)?$`);
    return file[kind].length - leftOut.filter(({ path }) => entry.test(path)).length;
  };
  return kinds.map((kind) => `${kind.replace("_", " ")}: ${counted(kind)}`).join(", ");
}

/** Throws a UsageError that names every field that is not as it should be. */
export function parseSettings(text: string): SettingsFile {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`Nothing was changed: this is no JSON (${(error as Error).message}).`);
  }
  const parsed = SettingsFile.safeParse(json, { error: expectation });
  if (!parsed.success) throw refusal(parsed.error.issues.map(describeIssue));
  const twice = [
    ...doubled("stores", "tienda_id", parsed.data.stores),
    ...doubled("products", "producto_id", parsed.data.products),
    ...doubled("insight_types", "tipo", parsed.data.insight_types),
  ];
  if (twice.length > 0) throw refusal(twice);
  return parsed.data;
}

function refusal(problems: string[]): UsageError {
  const shown = problems.slice(0, 20);
  const more = problems.length - shown.length;
  return new UsageError(
    `Nothing was changed. In the file:\n  ${shown.join("\n  ")}${more > 0 ? `\n  and ${more} more` : ""}`,
  );
}

function describeIssue({ code, path, message, ...issue }: z.core.$ZodIssue): string {
  const at = path.map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`)).join("");
  const where = at.replace(/^\./, "") || "the whole";
  if (code === "unrecognized_keys" && "keys" in issue) {
    return `${where}: expected no field ${(issue.keys as string[]).join(", ")}`;
  }
  return `${where}: ${message}`;
}

/** Of two entries of the same, nobody could say which is meant. */
function doubled<K extends string>(kind: string, key: K, entries: Record<K, string>[]): string[] {
  const seen = new Set<string>();
  return entries.flatMap(({ [key]: id }, n) => {
    const known = seen.has(id.toLowerCase());
    seen.add(id.toLowerCase());
    return known ? [`${kind}[${n}].${key}: expected each once, got ${id} again`] : [];
  });
}

/** Reads the settings of all stores; works detached as well. */
export async function exportSettings(client: Client): Promise<SettingsFile> {
  const { rows } = await asOwner(client, () =>
    client.query<{ settings: SettingsFile }>("select nexus_engine.export_settings() as settings"),
  );
  return (rows[0] as { settings: SettingsFile }).settings;
}

/**
 * Writes all of it or nothing. Returns what it left out, because the store, product, user or type is gone.
 * Throws a UsageError that names the field that the database refused.
 */
export async function importSettings(client: Client, file: SettingsFile): Promise<LeftOut[]> {
  try {
    const { rows } = await asOwner(client, () =>
      client.query<LeftOut>("select path, value from nexus_engine.import_settings($1)", [
        JSON.stringify(file),
      ]),
    );
    return rows;
  } catch (error) {
    if (sqlState(error) !== "NX001") throw error;
    throw refusal([(error as Error).message]);
  }
}

/** In one transaction, with the rights of nexus_owner, which every login has that may migrate. */
async function asOwner<T>(client: Client, work: () => Promise<T>): Promise<T> {
  await client.query("begin");
  try {
    await client.query("set local role nexus_owner");
    const result = await work();
    await client.query("commit");
    return result;
  } catch (error) {
    await client.query("rollback");
    throw error;
  }
}

/** Throws a UsageError where there is no engine in the database, or, for `writing`, while it is detached. */
export async function checkEngine(client: Client, writing: boolean): Promise<void> {
  const { rows } = await client.query<{ there: boolean }>(
    "select to_regprocedure('nexus_engine.import_settings(jsonb)') is not null as there",
  );
  if (!rows[0]?.there) {
    throw new UsageError(
      `There is no engine of this release in database "${client.database}": run npm start or npm run attach first.`,
    );
  }
  if (!writing) return;
  if (await isDetached(client)) {
    throw new UsageError(
      `Nothing was changed: the engine is detached from database "${client.database}", and cannot see which stores there are. Run npm run attach first.`,
    );
  }
}
