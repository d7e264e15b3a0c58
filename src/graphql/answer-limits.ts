import type { ExecutionResult, GraphQLError } from "postgraphile/graphql";
import { maxAnswerBytes } from "./price.ts";
import { tooComplex } from "./refusals.ts";

/** Errors that an answer shows, and bytes that they have together: each row can have one. */
const maxErrors = 20;
const maxErrorBytes = 50_000;

/** The answer with only so many of its errors, or a refusal when it is too large. */
export function boundAnswer(answer: ExecutionResult): ExecutionResult {
  if (answer.errors) Object.assign(answer, { errors: boundErrors(answer.errors) });
  // Grafast writes it as text for HTTP.
  const data: unknown = answer.data;
  if (typeof data !== "string" || Buffer.byteLength(data) <= maxAnswerBytes) return answer;
  return { errors: [tooLargeAnswer()] };
}

/** The first of them. */
export function boundErrors(errors: readonly GraphQLError[]): GraphQLError[] {
  const shown: GraphQLError[] = [];
  let bytes = 0;
  for (const error of errors.slice(0, maxErrors)) {
    bytes += Buffer.byteLength(JSON.stringify(error));
    if (bytes > maxErrorBytes && shown.length > 0) break;
    shown.push(error);
  }
  return shown;
}

export const tooLargeAnswer = () =>
  tooComplex(
    `Expected an answer of at most ${maxAnswerBytes} bytes, it has more: ask for smaller pages, or fewer fields.`,
  );
