import fc from "fast-check";
import { fuzz, type Target } from "./target.ts";
import { anything, numbers, texts, times } from "./values.ts";

const zones = fc.constantFrom(
  "America/Lima",
  "UTC",
  "posixrules",
  "localtime",
  "EST5EDT",
  "FOO+3",
  "../UTC",
  "america/lima",
  "Etc/GMT+12",
  "Pacific/Chatham",
);
const likely: Record<string, fc.Arbitrary<unknown>> = {
  timeZone: fc.oneof(zones, texts),
  dayStartsAt: times,
  summaryTime: times,
  weeklySummaryDow: numbers,
  weeklySummaryTime: times,
  lowStockThreshold: numbers,
  criticalThreshold: numbers,
  leadTimeDays: numbers,
  countedPendingMethods: fc.oneof(fc.array(texts, { maxLength: 25 }), fc.constant("efectivo")),
  cashMethods: fc.oneof(fc.array(texts, { maxLength: 25 }), fc.constant("efectivo")),
  mutedTypes: fc.oneof(
    fc.array(fc.constantFrom("STOCK_BAJO", "VENTAS_DIARIAS", "NADA", ""), { maxLength: 5 }),
    fc.array(texts, { maxLength: 3 }),
  ),
};
const fields = Object.keys(likely);
const mostly = (value: fc.Arbitrary<unknown>) =>
  fc.oneof(
    { weight: 6, arbitrary: value },
    { weight: 1, arbitrary: anything },
    { weight: 1, arbitrary: fc.constant(null) },
  );
const patches: fc.Arbitrary<unknown> = fc.oneof(
  {
    weight: 9,
    arbitrary: fc
      .subarray(fields, { minLength: 1, maxLength: 3 })
      .chain((some) =>
        fc.record(
          Object.fromEntries(some.map((field) => [field, mostly(likely[field] ?? anything)])),
        ),
      ),
  },
  {
    weight: 1,
    arbitrary: fc.dictionary(
      fc.oneof(
        fc.constantFrom("tiendaId", "tienda_id", "updatedAt", "__proto__", "time_zone", ...fields),
        texts,
      ),
      anything,
      { maxKeys: 3 },
    ),
  },
  { weight: 1, arbitrary: anything },
);

/** Patches of a store's settings with every field wrong; what is then stored can be read. */
export async function fuzzSettings(target: Target, runs: number, seed: number): Promise<void> {
  const query = `mutation ($patch: SettingsPatch!) { updateStoreSettings(input: {patch: $patch}) { storeSettings { ${fields.join(" ")} } } }`;
  const ask = async (patch: unknown) => {
    await target.post("settings", JSON.stringify({ query, variables: { patch } }));
  };
  for (const field of fields) {
    for (const value of ["\u0000", "\ud800", "x".repeat(50_000), -1, 1e308, [], [null], {}, true]) {
      await ask({ [field]: value });
      await ask({ [field]: [value] });
    }
  }
  await fuzz(patches, runs, seed, ask);
  // What was accepted must not break what is computed from it.
  const { tienda, db } = target;
  await db.pool.query("select * from nexus_engine.reconcile(null, array[$1]::uuid[], now())", [
    tienda,
  ]);
  const { rows } = await db.pool.query(
    "select tipo, message from nexus_engine.store_failure where tienda_id = $1",
    [tienda],
  );
  if (rows.length > 0)
    throw new Error(`settings that were accepted make insights fail: ${JSON.stringify(rows)}`);
  await target.post(
    "settings",
    JSON.stringify({
      query: `{ storeSettings { ${fields.join(" ")} } salesSummary { today { total } } }`,
    }),
  );
}
