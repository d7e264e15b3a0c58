import type { Shop } from "../shops.ts";
import type { Engine } from "./engine.ts";
import type { Screens } from "./screens.ts";

export type Leftover = { name: string; count: number; bytes: number };

const warmUp = 1000;
const lanes = 4;

/**
 * What one of each kind leaves in the heap for good: the difference between two full collections,
 * between which so many were done. A leak too small for hours to show, and its cause.
 */
export async function measureLeftovers(
  engine: Engine,
  screens: Screens,
  shops: Shop[],
  count: number,
): Promise<Leftover[]> {
  const kinds: [name: string, act: (shop: Shop, n: number) => Promise<void>][] = [
    ["a query", (shop, n) => screens.query(shop, n)],
    ["a subscription, opened and closed", async (shop) => (await screens.open(shop))()],
  ];
  const leftovers: Leftover[] = [];
  for (const [name, act] of kinds) {
    const many = async (times: number) => {
      let n = 0;
      const lane = async () => {
        while (n < times) {
          const k = n++;
          await act(shops[k % shops.length] as Shop, k);
        }
      };
      await Promise.all(Array.from({ length: lanes }, lane));
    };
    await many(warmUp);
    const before = await inUse(engine);
    await many(count);
    leftovers.push({ name, count, bytes: ((await inUse(engine)) - before) / count });
  }
  return leftovers;
}

async function inUse(engine: Engine): Promise<number> {
  await engine.ask({ ask: "collect" });
  return (await engine.ask({ ask: "collect" })).heapUsed;
}
