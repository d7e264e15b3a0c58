import { fuzzCursors } from "./cursors.ts";
import { fuzzBodies, fuzzDocuments } from "./documents.ts";
import { fuzzEnvironment } from "./environment.ts";
import { fuzzFrames } from "./frames.ts";
import { fuzzSettings } from "./settings.ts";
import type { Target } from "./target.ts";
import { fuzzTokens } from "./tokens.ts";

/** What is attacked, and how many inputs of all each gets. */
export const areas: [
  name: string,
  share: number,
  run: (target: Target, runs: number, seed: number) => Promise<void> | void,
][] = [
  ["tokens", 0.25, fuzzTokens],
  ["documents", 0.2, fuzzDocuments],
  ["bodies", 0.1, fuzzBodies],
  ["cursors", 0.1, fuzzCursors],
  ["settings", 0.1, fuzzSettings],
  ["frames", 0.1, fuzzFrames],
  ["environment", 0.15, fuzzEnvironment],
];
