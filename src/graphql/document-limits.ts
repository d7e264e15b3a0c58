import {
  type ASTVisitor,
  type DocumentNode,
  type FragmentDefinitionNode,
  GraphQLError,
  Kind,
  type SelectionSetNode,
} from "postgraphile/graphql";
import { apiError } from "./errors.ts";

export const maxDepth = 12;
export const maxFields = 500;

type Size = { depth: number; fields: number };

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
    const size = { depth: 0, fields: 0 };
    if (!set) return size;
    if (level > maxDepth * 2) throw tooDeep();
    for (const selection of set.selections) {
      written += 1;
      if (written > maxFields * 2) throw tooLarge();
      let part: Size;
      switch (selection.kind) {
        case Kind.FIELD: {
          const inner = measure(selection.selectionSet, level + 1);
          part = {
            depth: selection.name.value.startsWith("__") ? 1 : inner.depth + 1,
            fields: inner.fields + 1,
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
    }
    return size;
  };

  const measureFragment = (name: string): Size => {
    const measured = known.get(name);
    if (measured) return measured;
    known.set(name, { depth: 0, fields: 0 });
    const size = measure(fragments.get(name)?.selectionSet, 0);
    known.set(name, size);
    return size;
  };

  const largest = { depth: 0, fields: 0 };
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) measureFragment(definition.name.value);
    if (definition.kind !== Kind.OPERATION_DEFINITION) continue;
    const size = measure(definition.selectionSet, 0);
    largest.depth = Math.max(largest.depth, size.depth);
    largest.fields = Math.max(largest.fields, size.fields);
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

/** The first rule, which throws: graphql's own rules need not look at a document that is too large. */
function limitRule(): ASTVisitor {
  return {
    Document: {
      enter(document) {
        const { depth, fields } = measureDocument(document);
        if (depth > maxDepth) throw tooDeep(depth);
        if (fields > maxFields) throw tooLarge(fields);
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
        event.validationRules.unshift(limitRule);
        const { getExecutionConfig } = event;
        event.getExecutionConfig = async function (context) {
          const config = await getExecutionConfig.call(this, context);
          return {
            ...config,
            parseAndValidate: (query) => withCode(config.parseAndValidate(query)),
          };
        };
        return next();
      },
    },
  },
};

type Parsed = { document: DocumentNode } | { errors: readonly GraphQLError[] };

function withCode<T extends Parsed>(parsed: T): T {
  if (!("errors" in parsed) || !parsed.errors) return parsed;
  for (const error of parsed.errors) {
    // Nested too deeply for the parser's own recursion.
    if (!(error instanceof GraphQLError)) throw tooDeep();
    error.extensions["code"] ??= "BAD_USER_INPUT";
  }
  return parsed;
}
