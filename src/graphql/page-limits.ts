import {
  type FieldNode,
  GraphQLError,
  type GraphQLField,
  type GraphQLObjectType,
  getNamedType,
  getOperationAST,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from "postgraphile/graphql";
import type { ErrorCode } from "../errors.ts";
import { maxChanges } from "./live.ts";

export const defaultPage = 50;
export const maxPage = 100;
/** Rows that a request may ask for; lists inside lists multiply. */
export const maxRows = 10_000;

type Request = {
  operation: OperationDefinitionNode;
  fragments: Map<string, SelectionSetNode>;
  variables: Readonly<Record<string, unknown>>;
};

const refusal = (code: ErrorCode, message: string, nodes: FieldNode, field?: string) =>
  new GraphQLError(message, { nodes, extensions: { code, ...(field && { field }) } });

/** The value of `first`; anything but a number is graphql's to refuse. */
function given(node: FieldNode, { operation, variables }: Request): unknown {
  const value = node.arguments?.find(({ name }) => name.value === "first")?.value;
  if (value?.kind === Kind.INT) return Number(value.value);
  if (value?.kind !== Kind.VARIABLE) return undefined;
  const name = value.name.value;
  if (variables[name] !== undefined) return variables[name];
  const declared = operation.variableDefinitions?.find((v) => v.variable.name.value === name);
  return declared?.defaultValue?.kind === Kind.INT
    ? Number(declared.defaultValue.value)
    : undefined;
}

/** How many rows a field asks for, or undefined when it is no list that takes `first`. */
function pageSize(
  field: GraphQLField<unknown, unknown> | undefined,
  node: FieldNode,
  request: Request,
): number | undefined {
  if (!field?.args.some(({ name }) => name === "first")) return undefined;
  const first = given(node, request) ?? defaultPage;
  if (typeof first !== "number") return defaultPage;
  if (first >= 0 && first <= maxPage) return first;
  throw refusal(
    "BAD_USER_INPUT",
    `first: expected a number from 0 to ${maxPage}, got ${first}`,
    node,
    "first",
  );
}

/** How many rows a selection asks for at most, when it is itself asked for `times` times. */
function countRows(
  set: SelectionSetNode,
  type: GraphQLObjectType,
  times: number,
  request: Request,
): number {
  let rows = 0;
  for (const selection of set.selections) {
    if (selection.kind !== Kind.FIELD) {
      const inner =
        selection.kind === Kind.INLINE_FRAGMENT
          ? selection.selectionSet
          : request.fragments.get(selection.name.value);
      if (inner) rows += countRows(inner, type, times, request);
      continue;
    }
    const field = type.getFields()[selection.name.value];
    const page = pageSize(field, selection, request);
    if (page !== undefined) rows += times * page;
    const inner = field && getNamedType(field.type);
    if (selection.selectionSet && isObjectType(inner)) {
      const each = inner.name === "InsightChange" ? maxChanges : (page ?? 1);
      rows += countRows(selection.selectionSet, inner, times * each, request);
    }
    if (rows > maxRows) {
      throw refusal(
        "QUERY_TOO_COMPLEX",
        `Expected lists of at most ${maxRows} rows together, got ${rows} or more: ask for smaller pages.`,
        selection,
      );
    }
  }
  return rows;
}

/** What is wrong with the page sizes of a request whose document is valid. */
export function pageProblem(args: Grafast.ExecutionArgs): GraphQLError | undefined {
  const operation = getOperationAST(args.document, args.operationName);
  const type = operation && args.schema.getRootType(operation.operation);
  if (!operation || !type) return undefined;
  const fragments = new Map<string, SelectionSetNode>();
  for (const definition of args.document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) {
      fragments.set(definition.name.value, definition.selectionSet);
    }
  }
  try {
    countRows(operation.selectionSet, type, 1, {
      operation,
      fragments,
      variables: args.variableValues ?? {},
    });
    return undefined;
  } catch (error) {
    if (error instanceof GraphQLError) return error;
    throw error;
  }
}

/** Refuses a request before it runs when it asks for too many rows. */
export const PageLimitsPlugin: GraphileConfig.Plugin = {
  name: "PageLimitsPlugin",
  version: "1.0.0",
  grafast: {
    middleware: {
      execute(next, { args }) {
        const problem = pageProblem(args as Grafast.ExecutionArgs);
        return problem ? { errors: [problem] } : next();
      },
      subscribe(next, { args }) {
        const problem = pageProblem(args as Grafast.ExecutionArgs);
        return problem ? { errors: [problem] } : next();
      },
    },
  },
};
