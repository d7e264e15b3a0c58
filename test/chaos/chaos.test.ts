import assert from "node:assert/strict";
import { it } from "node:test";
import { runChaos } from "./chaos.ts";

it("loses nothing and does nothing twice while workers and Postgres are killed", async () => {
  const chaos = await runChaos({
    seconds: 25,
    stores: 200,
    workers: 2,
    rates: { kill: 4, restart: 9, freeze: 8, cut: 4, delay: 5 },
  });
  assert.ok((chaos.havoc.kill ?? 0) >= 3 && (chaos.havoc.restart ?? 0) >= 1);
  assert.ok((chaos.traffic.sales ?? 0) > 100 && (chaos.tally["attempts lost"] ?? 0) > 0);
  assert.deepEqual(
    Object.entries(chaos.verdict).filter(([, wrong]) => wrong !== 0),
    [],
  );
  assert.deepEqual(chaos.exits, [0, 0]);
});
