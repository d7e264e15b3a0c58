import fc from "fast-check";
import { fuzz, type Target } from "./target.ts";
import { anything, ids, instants, numbers, texts } from "./values.ts";

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64");
const lists = [
  ...["[URGENCIA]", "[CREATED_AT_ASC]", "[CREATED_AT_DESC]", "[]"].map(
    (order) => ["insights", order] as const,
  ),
  ...["[NOMBRE_ASC]", "[SKU_DESC]", "[STOCK_ACTUAL_ASC]", "[NOMBRE_ASC, STOCK_ACTUAL_DESC]"].map(
    (order) => ["productos", order] as const,
  ),
];

/** Cursors of other lists, other orders and of nobody. */
export async function fuzzCursors(target: Target, runs: number, seed: number): Promise<void> {
  const real: string[] = [];
  for (const [list, order] of lists) {
    const query = `{ ${list}(first: 3, orderBy: ${order}) { edges { cursor } } }`;
    const { data } = await target.post("cursors", JSON.stringify({ query }));
    for (const { cursor } of (data as Record<string, { edges: { cursor: string }[] }>)?.[list]
      ?.edges ?? [])
      real.push(cursor);
  }
  const digests = real.map(
    (cursor) => (JSON.parse(Buffer.from(cursor, "base64").toString()) as unknown[])[0],
  );
  const parts = fc.oneof(numbers, texts, ids(target), instants, anything);
  const cursors: fc.Arbitrary<unknown> = fc.oneof(
    { weight: 2, arbitrary: fc.constantFrom(...real) },
    {
      weight: 5,
      arbitrary: fc
        .tuple(fc.constantFrom(...digests), fc.array(parts, { maxLength: 4 }))
        .map(([digest, rest]) => encode([digest, ...rest])),
    },
    {
      weight: 4,
      arbitrary: fc.tuple(fc.constantFrom(...real), fc.nat(), parts).map(([cursor, at, part]) => {
        const values = JSON.parse(Buffer.from(cursor, "base64").toString()) as unknown[];
        values[1 + (at % (values.length - 1 || 1))] = part;
        return encode(values);
      }),
    },
    { weight: 1, arbitrary: anything.map(encode) },
    {
      weight: 1,
      arbitrary: fc.string({ unit: "binary" }).map((text) => Buffer.from(text).toString("base64")),
    },
    { weight: 1, arbitrary: anything },
  );
  const input = fc.record({
    list: fc.constantFrom(...lists),
    cursor: cursors,
    inline: fc.boolean(),
  });
  await fuzz(input, runs, seed, async ({ list: [list, order], cursor, inline }) => {
    const ask = (after: string) =>
      `${list}(first: 2, after: ${after}, orderBy: ${order}) { nodes { id } pageInfo { endCursor } }`;
    const body = inline
      ? { query: `{ ${ask(JSON.stringify(cursor) ?? "null")} }` }
      : { query: `query ($c: Cursor) { ${ask("$c")} }`, variables: { c: cursor } };
    await target.post("cursors", JSON.stringify(body));
  });
}
