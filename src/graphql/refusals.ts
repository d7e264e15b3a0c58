import { type ASTNode, GraphQLError, Kind } from "postgraphile/graphql";
import type { ErrorCode } from "../errors.ts";

/** Names of arguments and input fields from the outside in; numbers are places in lists. */
export type Place = readonly (string | number)[];

/** What only wraps the fields that a client knows. */
const wrappers = new Set(["input", "patch"]);

/** The field as `extensions.field` names it, as errors of the database do. */
export function fieldOf(place: Place): string {
  const names = place.filter((step) => typeof step === "string");
  const inner = names.findIndex((name) => !wrappers.has(name));
  return names.slice(inner < 0 ? -1 : inner).join(".");
}

/** The field and where in its lists, for people. */
function placeOf(place: Place): string {
  const last = place.findLastIndex((step) => typeof step === "string");
  return [fieldOf(place), ...place.slice(last + 1).map((step) => `[${step}]`)].join("");
}

/** BAD_USER_INPUT that names the field and its place: `filter.tipo.in[3]: expected …, got …`. */
export function badInput(place: Place, problem: string, node?: ASTNode): GraphQLError {
  return new GraphQLError(`${placeOf(place)}: ${cut(problem, 300)}`, {
    nodes: node ?? null,
    extensions: { code: "BAD_USER_INPUT" satisfies ErrorCode, field: fieldOf(place) },
  });
}

export function tooComplex(message: string, node?: ASTNode): GraphQLError {
  return new GraphQLError(message, {
    nodes: node ?? null,
    extensions: { code: "QUERY_TOO_COMPLEX" satisfies ErrorCode },
  });
}

type Visited = ASTNode | readonly ASTNode[] | undefined;

/** Which arguments and input fields these are, as `visit` came by; for a default the variable that has it. */
export function placeIn(visited: readonly Visited[]): string[] {
  return visited.flatMap((ancestor) => {
    if (!ancestor || !("kind" in ancestor)) return [];
    if (ancestor.kind === Kind.VARIABLE_DEFINITION) return [ancestor.variable.name.value];
    const names = ancestor.kind === Kind.ARGUMENT || ancestor.kind === Kind.OBJECT_FIELD;
    return names ? [ancestor.name.value] : [];
  });
}

/** What came, short enough for an answer and a log. */
export function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  // JSON has no word for what overflows, which JSON.parse takes in nevertheless.
  if (typeof value === "number") return String(value);
  try {
    return cut(JSON.stringify(value), 60);
  } catch {
    return Array.isArray(value) ? "[…]" : "{…}";
  }
}

export function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length)}…`.toWellFormed() : text;
}
