import {
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputType,
  type GraphQLOutputType,
  getNamedType,
  isEnumType,
  isInputObjectType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  isRequiredArgument,
} from "graphql";

/** Values for arguments whose type alone does not say what would be accepted. */
const known: Record<string, unknown> = {
  desde: new Date(Date.now() - 60 * 86_400_000).toISOString().slice(0, 10),
  hasta: new Date(Date.now() + 2 * 86_400_000).toISOString().slice(0, 10),
  force: true,
  timeZone: "America/Lima",
  mutedTypes: ["STOCK_BAJO"],
};
const byType: Record<string, unknown> = {
  Int: 1,
  Float: 5,
  Boolean: false,
  String: "palabra",
  Time: "10:00",
};

/** A literal for an argument, with this id wherever an id is wanted. */
function literal(name: string, type: GraphQLInputType, id: string): string {
  if (isNonNullType(type)) return literal(name, type.ofType, id);
  if (name in known) return JSON.stringify(known[name]);
  if (isListType(type)) return `[${literal(name, type.ofType, id)}]`;
  if (isEnumType(type)) return type.getValues()[0]?.name ?? "null";
  if (isInputObjectType(type)) {
    const fields = Object.values(type.getFields());
    return `{${fields.map((field) => `${field.name}: ${literal(field.name, field.type, id)}`).join(", ")}}`;
  }
  if (type.name === "UUID") return JSON.stringify(id);
  const value = byType[type.name];
  if (value === undefined)
    throw new Error(`test/graphql/walk.ts: no value for ${name}: ${type.name}`);
  return JSON.stringify(value);
}

/** The arguments that matter: all but those that narrow or page a list. */
function args(field: GraphQLField<unknown, unknown>, id: string, page: number): string {
  const given = field.args.flatMap((argument: GraphQLArgument) => {
    if (argument.name === "first") return [`first: ${page}`];
    if (["filter", "after"].includes(argument.name) && !isRequiredArgument(argument)) return [];
    return [`${argument.name}: ${literal(argument.name, argument.type, id)}`];
  });
  return given.length > 0 ? `(${given.join(", ")})` : "";
}

/** Every leaf below a type, through at most `depth` objects. */
function selection(type: GraphQLOutputType, depth: number, id: string): string {
  const named = getNamedType(type);
  if (!isObjectType(named)) return "";
  const fields = Object.values(named.getFields()).flatMap((field) => {
    if (isLeafType(getNamedType(field.type))) return [field.name];
    const inner = depth > 1 ? selection(field.type, depth - 1, id) : "";
    return inner ? [`${field.name}${args(field, id, 5)} ${inner}`] : [];
  });
  return fields.length > 0 ? `{ ${fields.join(" ")} }` : "";
}

export const asksForId = (field: GraphQLField<unknown, unknown>) =>
  args(field, "WANTED", 1).includes("WANTED");

/** A request for one root field with all that lies below it, through at most `depth` objects. */
export function requestFor(
  operation: "query" | "mutation" | "subscription",
  field: GraphQLField<unknown, unknown>,
  id: string,
  depth = 5,
): string {
  return `${operation} { ${field.name}${args(field, id, 20)} ${selection(field.type, depth, id)} }`;
}

/** All the scalars of an answer, those inside of JSON as well. */
export function leaves(value: unknown): unknown[] {
  if (Array.isArray(value)) return value.flatMap(leaves);
  if (value && typeof value === "object") return Object.values(value).flatMap(leaves);
  return value === null || value === undefined ? [] : [value];
}
