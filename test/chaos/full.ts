import { printTable } from "../bench/figures.ts";
import { runChaos } from "./chaos.ts";

/** npm run test:chaos: the whole of it, a quarter of an hour at most; CHAOS_SECONDS makes it shorter. */
const seconds = Number(process.env.CHAOS_SECONDS ?? 780);
const chaos = await runChaos({
  seconds,
  stores: 200,
  workers: 3,
  rates: { kill: 6.5, restart: 32, freeze: 20, cut: 10, delay: 12 },
  ...(process.env.CHAOS_LOG ? { log: process.env.CHAOS_LOG } : {}),
});
printTable(`What was done to it in ${seconds} seconds`, ["", ""], Object.entries(chaos.havoc));
printTable("What went on meanwhile", ["", ""], Object.entries(chaos.traffic));
printTable("What became of it", ["", ""], Object.entries(chaos.tally));
printTable("What is not as it should be", ["", ""], Object.entries(chaos.verdict));
console.log(`\nWorkers ended by themselves: ${chaos.unprompted.join(" ") || "none"}`);
console.log(`Exit codes at the end: ${chaos.exits.join(" ")}`);
const wrong = Object.values(chaos.verdict).some((count) => count !== 0);
process.exitCode = wrong || chaos.exits.some((code) => code !== 0) ? 1 : 0;
