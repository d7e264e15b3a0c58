import assert from "node:assert/strict";
import { it } from "node:test";
import { runChaos } from "./chaos.ts";

it("loses nothing and does nothing twice while workers and Postgres are killed", async () => {
  const chaos = await runChaos({
    seconds: 12,
    stores: 60,
    workers: 2,
    rates: { kill: 3, restart: 7, freeze: 6, cut: 3, delay: 4 },
  });
  const { havoc, tally } = chaos;
  assert.ok((havoc.kill ?? 0) >= 2 && (havoc.restart ?? 0) >= 1, JSON.stringify(havoc));
  assert.ok(
    (chaos.traffic.sales ?? 0) > 40 && (tally["attempts lost"] ?? 0) > 0,
    JSON.stringify(chaos),
  );
  assert.ok((tally["days told and later completed"] ?? 0) > 0, JSON.stringify(tally));
  assert.deepEqual(
    Object.entries(chaos.verdict).filter(([, wrong]) => wrong !== 0),
    [],
  );
  assert.deepEqual(chaos.exits, [0, 0]);
});
