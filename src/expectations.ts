import type { z } from "zod";

const kinds: Record<string, string> = {
  array: "an array",
  boolean: "true or false",
  int: "a whole number",
  number: "a number",
  object: "an object",
  string: "text",
};

/** What was expected where zod found something wrong, in place of its own words: hand it to parse as `error`. */
export function expectation(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return `expected ${kinds[issue.expected] ?? issue.expected}`;
    case "invalid_value":
      return `expected one of ${issue.values.map(String).join(", ")}`;
    case "too_small":
      return `expected ${sized(issue.origin, issue.inclusive ? "at least" : "more than", issue.minimum)}`;
    case "too_big":
      return `expected ${sized(issue.origin, issue.inclusive ? "at most" : "less than", issue.maximum)}`;
    case "invalid_format":
      return `expected text of the form ${issue.pattern ?? issue.format}`;
    default:
      return "expected another value";
  }
}

function sized(origin: string, bound: string, limit: number | bigint): string {
  if (origin === "array") return `${bound} ${limit} ${limit === 1 ? "entry" : "entries"}`;
  if (origin === "string") return `${bound} ${limit} ${limit === 1 ? "character" : "characters"}`;
  return `a number of ${bound} ${limit}`;
}
