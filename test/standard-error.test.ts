import assert from "node:assert/strict";
import { it } from "node:test";
import { adoptStandardError, createLog } from "../src/log.ts";

it("what libraries print, and warnings of Node, come through the log, cut and without secrets", () => {
  const lines: string[] = [];
  const log = createLog("info", { write: (line) => void lines.push(line) });
  const giveBack = adoptStandardError(log);
  try {
    console.error("Unexpected error occurred:", new Error(`bad: ${"x".repeat(60_000)}`));
    console.warn("postgres://pos:geheim@host/db");
    process.emit("warning", new Error("a warning"));
  } finally {
    giveBack();
  }
  const told = lines.map((line) => JSON.parse(line));
  assert.deepEqual(
    told.map(({ level, msg }) => [level, msg]),
    [
      ["error", "Unexpected error occurred:"],
      ["warn", "postgres://[login]@host/db"],
      ["warn", "a warning"],
    ],
  );
  assert.match(told[0].err.message, /^bad: x+… \(60005 characters\)$/);
  assert.ok(lines.every((line) => line.length < 10_000));
});
