import {
  type ASTNode,
  coerceInputValue,
  type DocumentNode,
  type FieldNode,
  type GraphQLField,
  type GraphQLInputType,
  type GraphQLSchema,
  getNamedType,
  getNullableType,
  isEnumType,
  isInputObjectType,
  isInputType,
  isListType,
  isNonNullType,
  isScalarType,
  Kind,
  type OperationDefinitionNode,
  print,
  typeFromAST,
  type ValueNode,
  valueFromAST,
  visit,
} from "postgraphile/graphql";
import { badInput, type Place, placeIn, shown } from "./refusals.ts";

/** Values of a list in an argument or an input: as many as a page has rows. */
export const maxListLength = 100;
/** Characters of a text in an argument or an input: the longest that the POS compares has 255. */
export const maxTextLength = 1_000;

export type Values = Readonly<Record<string, unknown>>;

/** The variables as graphql would read them. Throws what is wrong with the first that is. */
export function readVariables(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  given: Values,
): Values {
  const values: Record<string, unknown> = Object.create(null);
  for (const definition of operation.variableDefinitions ?? []) {
    const name = definition.variable.name.value;
    const type = typeFromAST(schema, definition.type);
    // Graphql refuses what is no type of a variable.
    if (!type || !isInputType(type)) continue;
    if (Object.hasOwn(given, name)) {
      values[name] = coerced(given[name], type, () => placeOfUse(document, name), definition);
    } else if (definition.defaultValue) {
      values[name] = valueFromAST(definition.defaultValue, type);
    } else if (isNonNullType(type)) {
      throw badInput(placeOfUse(document, name), `expected ${type}, got nothing`, definition);
    }
  }
  return values;
}

/** The value as its type reads it. Stops at the first that is wrong: there can be 50,000. */
function coerced(
  given: unknown,
  type: GraphQLInputType,
  place: () => Place,
  node: ASTNode,
): unknown {
  return coerceInputValue(given, type, (path, invalid, { message }) => {
    // A field that is missing or unknown is not in the path, and the value is the whole object.
    const [, field, missing] = /^Field "(\w+)" (of required)?/.exec(message) ?? [];
    if (field !== undefined) {
      const text = missing ? "expected a value, got nothing" : "expected no such field";
      throw badInput([...place(), ...path, field], text, node);
    }
    const expected = message.startsWith("expected") ? message : `expected ${typeAt(type, path)}`;
    throw badInput([...place(), ...path], `${expected}, got ${shown(invalid)}`, node);
  });
}

/** What is expected at a path inside of a type. */
function typeAt(type: GraphQLInputType, path: Place): string {
  let at: GraphQLInputType = type;
  for (const step of path) {
    const inner = getNullableType(at);
    if (isListType(inner)) at = inner.ofType;
    else if (isInputObjectType(inner)) at = inner.getFields()[step]?.type ?? at;
  }
  const named = getNullableType(at);
  return isEnumType(named) ? `one of ${named.getValues().map(({ name }) => name)}` : String(at);
}

/** The argument, or the field in it, where a variable stands first. */
function placeOfUse(document: DocumentNode, name: string): string[] {
  let place: string[] | undefined;
  visit(document, {
    VariableDefinition: () => false,
    Variable(node, _key, parent, _path, ancestors) {
      if (node.name.value === name) place ??= placeIn([...ancestors, parent]);
    },
  });
  return place ?? [name];
}

/** The arguments of a field as they will be used. Throws what is wrong with the first that is. */
export function readArguments(
  field: GraphQLField<unknown, unknown>,
  node: FieldNode,
  variables: Values,
): Values {
  const values: Record<string, unknown> = {};
  for (const { name, type, defaultValue } of field.args) {
    const written = node.arguments?.find((argument) => argument.name.value === name)?.value;
    // Without a value for the variable it is as if the argument were not there.
    const absent =
      !written || (written.kind === Kind.VARIABLE && !Object.hasOwn(variables, written.name.value));
    if (absent && isNonNullType(type) && defaultValue === undefined) {
      throw badInput([name], `expected ${type}, got nothing`, node);
    }
    if (absent) {
      if (defaultValue !== undefined) values[name] = defaultValue;
      continue;
    }
    if (isFilter(type)) refuseAbsent(written, [name], variables);
    const value = valueFromAST(written, type, variables);
    if (value === undefined) {
      throw badInput([name], `expected ${type}, got ${shownNode(written, variables)}`, node);
    }
    checkValue(value, type, [name], node);
    values[name] = value;
  }
  return values;
}

function shownNode(node: ValueNode, variables: Values): string {
  return node.kind === Kind.VARIABLE ? shown(variables[node.name.value]) : print(node);
}

const isFilter = (type: GraphQLInputType) => getNamedType(type).name.endsWith("Filter");

/** A variable without a value inside of a filter: without its condition the filter lets everything pass. */
function refuseAbsent(node: ValueNode, place: Place, variables: Values): void {
  if (node.kind === Kind.VARIABLE && !Object.hasOwn(variables, node.name.value)) {
    throw badInput(place, `expected a value, got nothing in $${node.name.value}`, node);
  }
  if (node.kind !== Kind.OBJECT) return;
  for (const { name, value } of node.fields) refuseAbsent(value, [...place, name.value], variables);
}

/** Refuses what its type allows and we do not. */
function checkValue(value: unknown, type: GraphQLInputType, place: Place, node: ASTNode): void {
  const inner = getNullableType(type);
  if (value === null) {
    if (isFilter(type)) throw badInput(place, "expected a condition, got null", node);
  } else if (isListType(inner) && Array.isArray(value)) {
    checkList(value, inner.ofType, place, node);
  } else if (isInputObjectType(inner)) {
    checkObject(value as Values, inner.getFields(), place, node, isFilter(inner));
  } else if (typeof value === "number" && !Number.isFinite(value)) {
    throw badInput(place, `expected a number that is not too large, got ${value}`, node);
  } else if (typeof value === "string" && isScalarType(inner) && value.length > maxTextLength) {
    // Of the scalars with a form of their own only a cursor is that long; it has its own bound.
    if (inner.name === "Cursor") return;
    const text = `expected at most ${maxTextLength} characters, got ${value.length}`;
    throw badInput(place, text, node);
  }
}

function checkList(values: unknown[], type: GraphQLInputType, place: Place, node: ASTNode): void {
  if (values.length > maxListLength) {
    const text = `expected at most ${maxListLength} values, got ${values.length}`;
    throw badInput(place, text, node);
  }
  const isOrder = isEnumType(getNullableType(type));
  for (const [n, value] of values.entries()) {
    if (isOrder && values.indexOf(value) < n) {
      throw badInput([...place, n], "expected each value once, got one again", node);
    }
    checkValue(value, type, [...place, n], node);
  }
}

function checkObject(
  values: Values,
  fields: Record<string, { type: GraphQLInputType }>,
  place: Place,
  node: ASTNode,
  filter: boolean,
): void {
  // A whole filter may be empty, and then lets everything pass; the conditions of a field may not.
  if (filter && place.length > 1 && Object.keys(values).length === 0) {
    throw badInput(place, "expected a condition, got none", node);
  }
  for (const [name, value] of Object.entries(values)) {
    const type = fields[name]?.type;
    if (!type) continue;
    if (filter && value === null) {
      throw badInput([...place, name], "expected a value to compare with, got null", node);
    }
    checkValue(value, type, [...place, name], node);
  }
}
