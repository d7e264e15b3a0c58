import {
  type ASTVisitor,
  type DocumentNode,
  type FragmentDefinitionNode,
  GraphQLError,
  type GraphQLSchema,
  Kind,
  Lexer,
  type SelectionSetNode,
  Source,
  TokenKind,
} from "postgraphile/graphql";
import { boundErrors } from "./answer-limits.ts";
import { apiError } from "./errors.ts";
import { withNamedValues } from "./literals.ts";

export const maxDepth = 12;
export const maxFields = 500;
/** Fields with fields below them: planning one takes 4 ms and keeps 20 kB in the cache of plans. */
export const maxObjects = 100;
/** Names, punctuation and values as they are written. What is read keeps about 250 bytes of each. */
export const maxTokens = 3_000;

/** Documents, and plans of each, that are kept: 400 MB if all of them were the largest there can be. */
export const documentCacheSize = 50;
const planCacheSize = 4;

type Size = { depth: number; fields: number; objects: number };
const nothing: Size = { depth: 0, fields: 0, objects: 0 };

/**
 * How deep and how large the largest operation is with its fragments in place; every alias counts.
 * Stops at once where the limits are passed, so that no document is expensive to measure. What
 * lies under __schema has no depth here: graphql's own rule bounds it. A fragment inside itself
 * counts as nothing: that is an error of its own, which graphql reports.
 */
export function measureDocument(document: DocumentNode): Size {
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) {
      fragments.set(definition.name.value, definition);
    }
  }
  const known = new Map<string, Size>();
  let written = 0;

  const measure = (set: SelectionSetNode | undefined, level: number): Size => {
    const size = { ...nothing };
    if (!set) return size;
    if (level > maxDepth * 2) throw tooDeep();
    for (const selection of set.selections) {
      written += 1;
      if (written > maxFields * 2) throw tooLarge();
      let part: Size;
      switch (selection.kind) {
        case Kind.FIELD: {
          const inner = measure(selection.selectionSet, level + 1);
          const introspects = selection.name.value.startsWith("__");
          const isObject = selection.selectionSet !== undefined;
          part = {
            depth: introspects ? 1 : inner.depth + 1,
            fields: inner.fields + 1,
            objects: introspects ? 0 : inner.objects + Number(isObject),
          };
          break;
        }
        case Kind.INLINE_FRAGMENT:
          part = measure(selection.selectionSet, level + 1);
          break;
        case Kind.FRAGMENT_SPREAD:
          part = measureFragment(selection.name.value);
      }
      size.depth = Math.max(size.depth, part.depth);
      size.fields += part.fields;
      size.objects += part.objects;
    }
    return size;
  };

  const measureFragment = (name: string): Size => {
    const measured = known.get(name);
    if (measured) return measured;
    known.set(name, nothing);
    const size = measure(fragments.get(name)?.selectionSet, 0);
    known.set(name, size);
    return size;
  };

  const largest = { ...nothing };
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) measureFragment(definition.name.value);
    if (definition.kind !== Kind.OPERATION_DEFINITION) continue;
    const size = measure(definition.selectionSet, 0);
    largest.depth = Math.max(largest.depth, size.depth);
    largest.fields = Math.max(largest.fields, size.fields);
    largest.objects = Math.max(largest.objects, size.objects);
  }
  return largest;
}

const tooDeep = (depth?: number) =>
  apiError(
    "QUERY_TOO_COMPLEX",
    `Expected at most ${maxDepth} levels of fields, got ${depth ?? "many more"}.`,
  );
const tooLarge = (fields?: number) =>
  apiError(
    "QUERY_TOO_COMPLEX",
    `Expected at most ${maxFields} fields with fragments in place, got ${fields ?? "many more"}.`,
  );
const tooManyObjects = (objects: number) =>
  apiError(
    "QUERY_TOO_COMPLEX",
    `Expected at most ${maxObjects} fields with fields below them, got ${objects}.`,
  );
const tooLong = () =>
  apiError(
    "QUERY_TOO_COMPLEX",
    `Expected a document of at most ${maxTokens} words and signs: long values belong into variables.`,
  );

/** Refuses a document that is too long before it is read and kept. */
function checkLength(query: string): void {
  // No token is shorter than a character.
  if (query.length <= maxTokens) return;
  const lexer = new Lexer(new Source(query));
  try {
    for (let tokens = 0; tokens <= maxTokens; tokens += 1) {
      if (lexer.advance().kind === TokenKind.EOF) return;
    }
  } catch {
    // Not a word of GraphQL: the parser stops there as well, and says so.
    return;
  }
  throw tooLong();
}

/** Keeps the plans of so many documents, instead of Grafast's 500 with 50 plans each. */
export function limitPlanCache(schema: GraphQLSchema): void {
  const grafast = {
    ...schema.extensions.grafast,
    operationsCacheMaxLength: documentCacheSize,
    operationOperationPlansCacheMaxLength: planCacheSize,
  };
  Object.assign(schema.extensions, { grafast });
}

/** The first rule, which throws: graphql's own rules need not look at a document that is too large. */
function limitRule(): ASTVisitor {
  return {
    Document: {
      enter(document) {
        const { depth, fields, objects } = measureDocument(document);
        if (depth > maxDepth) throw tooDeep(depth);
        if (fields > maxFields) throw tooLarge(fields);
        if (objects > maxObjects) throw tooManyObjects(objects);
      },
    },
  };
}

/** Limits of the document, and a code for what is wrong with it otherwise. */
export const DocumentLimitsPlugin: GraphileConfig.Plugin = {
  name: "DocumentLimitsPlugin",
  version: "1.0.0",
  grafserv: {
    middleware: {
      setPreset(next, event) {
        event.validationRules = [limitRule, ...withNamedValues(event.validationRules)];
        const { getExecutionConfig } = event;
        event.getExecutionConfig = async function (context) {
          const config = await getExecutionConfig.call(this, context);
          return {
            ...config,
            parseAndValidate: (query) => {
              checkLength(query);
              return withCode(caught(() => config.parseAndValidate(query)));
            },
          };
        };
        return next();
      },
    },
  },
};

/** One of graphql's rules throws what is wrong with @skip and @include on a subscription. */
function caught<T extends Parsed>(read: () => T): T | { errors: GraphQLError[] } {
  try {
    return read();
  } catch (error) {
    if (error instanceof GraphQLError) return { errors: [error] };
    throw error;
  }
}

type Parsed = { document: DocumentNode } | { errors: readonly GraphQLError[] };

function withCode<T extends Parsed>(parsed: T): T {
  if (!("errors" in parsed) || !parsed.errors) return parsed;
  for (const error of parsed.errors) {
    // Nested too deeply for the parser's own recursion.
    if (!(error instanceof GraphQLError)) throw tooDeep();
    error.extensions["code"] ??= "BAD_USER_INPUT";
  }
  return { ...parsed, errors: boundErrors(parsed.errors) };
}
