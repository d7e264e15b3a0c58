import {
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLField,
  type GraphQLObjectType,
  type GraphQLSchema,
  getNamedType,
  getNullableType,
  getOperationAST,
  isListType,
  isObjectType,
  Kind,
  SchemaMetaFieldDef,
  type SelectionSetNode,
  TypeMetaFieldDef,
  TypeNameMetaFieldDef,
} from "postgraphile/graphql";
import { readArguments, readVariables, type Values } from "./inputs.ts";
import { introspectedRows } from "./introspected-rows.ts";
import { maxChanges } from "./live.ts";
import { badInput, tooComplex } from "./refusals.ts";

export const maxPage = 100;
export const defaultPage = 50;
/** Rows that a request may ask for; lists inside lists multiply. */
export const maxRows = 10_000;
/** Bytes of an answer, as priced before it is begun and as it is sent. */
export const maxAnswerBytes = 2_000_000;

/** What a mutation takes from the allowance, when that is not 1: this one makes the worker work. */
const mutationCosts: Record<string, number> = { refreshInsights: 5 };

/** Rows of lists that take no `first`. */
const rowsOfField: Record<string, number> = {
  "InsightChanges.changes": maxChanges,
  "Query.salesByDay": 732,
  "Query.salesByHour": 24,
};
/** Of all others: those of the settings and of types, and what is added and forgotten here. */
const rowsOfOthers = 20;

/**
 * Bytes of a value in an answer. Of text and JSON that of usual rows, above what is usual; the answer
 * is measured once more when it is there.
 */
const bytesOfType: Record<string, number> = {
  Boolean: 5,
  Date: 12,
  Datetime: 40,
  Float: 24,
  Int: 11,
  JSON: 400,
  Time: 17,
  UUID: 38,
};
const bytesOfText = 150;

export type Price = {
  rows: number;
  bytes: number;
  /** What its mutations take from the allowance. */
  mutations: number;
};

/**
 * What the operation of a valid document costs at most, every alias and every fragment counted,
 * whatever @skip says. Throws a refusal when that is too much, or when a value is not usable.
 */
export function priceOf(args: Grafast.ExecutionArgs): Price {
  const { schema, document } = args;
  const price: Price = { rows: 0, bytes: 0, mutations: 0 };
  const operation = getOperationAST(document, args.operationName);
  const root = operation && schema.getRootType(operation.operation);
  // Graphql says what is wrong.
  if (!operation || !root) return price;
  const variables = readVariables(schema, document, operation, args.variableValues ?? {});
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) {
      fragments.set(definition.name.value, definition);
    }
  }
  const pricing = { schema, variables, fragments, price, mutations: schema.getMutationType() };
  const once = { type: root, times: 1, page: undefined, cursor: 0, all: true };
  addSelection(operation.selectionSet, once, pricing);
  return price;
}

type Pricing = {
  schema: GraphQLSchema;
  variables: Values;
  fragments: Map<string, FragmentDefinitionNode>;
  price: Price;
  mutations: GraphQLObjectType | null | undefined;
};

/** Objects of an answer that the same selection is made from. */
type Objects = {
  type: GraphQLObjectType;
  times: number;
  /** Of connections: how many rows each has. */
  page: number | undefined;
  /** Bytes of a cursor of the list that they are in. */
  cursor: number;
  /** Of introspection: whether they are all that there are of their type. */
  all: boolean;
};

function addSelection(set: SelectionSetNode, objects: Objects, pricing: Pricing): void {
  for (const selection of set.selections) {
    if (selection.kind === Kind.FIELD) addField(selection, objects, pricing);
    else {
      const inner =
        selection.kind === Kind.INLINE_FRAGMENT
          ? selection
          : pricing.fragments.get(selection.name.value);
      if (inner) addSelection(inner.selectionSet, objects, pricing);
    }
  }
}

function addField(node: FieldNode, objects: Objects, pricing: Pricing): void {
  const { price, schema, variables } = pricing;
  const { type, times } = objects;
  const name = node.name.value;
  if (type === pricing.mutations) price.mutations += mutationCosts[name] ?? 1;
  const field = metaFields[name] ?? type.getFields()[name];
  if (!field) return;
  const values = readArguments(field, node, variables);
  const page = pageOf(field, node, values);
  price.rows += times * (page ?? 0);
  const isList = isListType(getNullableType(field.type));
  const rows = isList ? (page ?? rowsOf(field, objects, schema)) : 1;
  // With quotes, colon and comma, and with what encloses each row.
  price.bytes += times * ((node.alias ?? node.name).value.length + 4 + 3 * rows);
  const inner = getNamedType(field.type);
  if (isObjectType(inner) && node.selectionSet) {
    const below = {
      type: inner,
      times: times * rows,
      page,
      cursor: "orderBy" in values ? bytesOfCursor(values["orderBy"]) : objects.cursor,
      all: objects.all && (isList || name === "__schema"),
    };
    addSelection(node.selectionSet, below, pricing);
  } else {
    price.bytes += times * rows * (inner.name === "Cursor" ? objects.cursor : bytesOf(inner.name));
  }
  refuseTooMuch(price, node);
}

const metaFields: Record<string, GraphQLField<unknown, unknown>> = {
  __schema: SchemaMetaFieldDef,
  __type: TypeMetaFieldDef,
  __typename: TypeNameMetaFieldDef,
};

/** How many rows a field asks for, or undefined when it is no list that takes `first`. */
function pageOf(
  field: GraphQLField<unknown, unknown>,
  node: FieldNode,
  { first }: Values,
): number | undefined {
  if (typeof first !== "number" || !field.args.some(({ name }) => name === "first"))
    return undefined;
  if (first >= 0 && first <= maxPage) return first;
  throw badInput(["first"], `expected a number from 0 to ${maxPage}, got ${first}`, node);
}

/** How many rows a list has at most that takes no `first`. */
function rowsOf(
  { name }: GraphQLField<unknown, unknown>,
  { type, page, all }: Objects,
  schema: GraphQLSchema,
): number {
  if (type.name.startsWith("__")) return introspectedRows(schema, `${type.name}.${name}`, all);
  return page ?? rowsOfField[`${type.name}.${name}`] ?? rowsOfOthers;
}

const bytesOf = (type: string) => bytesOfType[type] ?? bytesOfText;

/** A digest, the id, and a text for each value that is ordered by, in base64. */
const bytesOfCursor = (orderBy: unknown) =>
  100 + (Array.isArray(orderBy) ? orderBy.length : 1) * Math.ceil((bytesOfText * 4) / 3);

function refuseTooMuch({ rows, bytes }: Price, node: FieldNode): void {
  if (rows > maxRows) {
    throw tooComplex(
      `Expected lists of at most ${maxRows} rows together, got ${rows} or more: ask for smaller pages.`,
      node,
    );
  }
  if (bytes > maxAnswerBytes) {
    throw tooComplex(
      `Expected an answer of at most ${maxAnswerBytes} bytes, this one can have ${Math.ceil(bytes)} or more: ask for smaller pages, or fewer fields.`,
      node,
    );
  }
}
