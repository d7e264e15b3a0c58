import {
  type GraphQLSchema,
  isEnumType,
  isInputObjectType,
  isObjectType,
} from "postgraphile/graphql";

type Rows = Record<string, { most: number; mean: number }>;
const known = new WeakMap<GraphQLSchema, Rows>();

/**
 * How many rows a list of the introspection has: the most that one has, or where all that there are
 * of its type are asked, what they have on average.
 * @param list such as `__Type.fields`
 */
export function introspectedRows(schema: GraphQLSchema, list: string, all: boolean): number {
  let rows = known.get(schema);
  if (!rows) {
    rows = count(schema);
    known.set(schema, rows);
  }
  const { most, mean } = rows[list] ?? { most: 0, mean: 0 };
  return all ? mean : most;
}

function count(schema: GraphQLSchema): Rows {
  const types = Object.values(schema.getTypeMap());
  const directives = schema.getDirectives();
  const fields = types.filter(isObjectType).map((type) => Object.values(type.getFields()));
  const ofTypes = (counts: number[]) => summary(counts, types.length);
  return {
    "__Schema.types": summary([types.length], 1),
    "__Schema.directives": summary([directives.length], 1),
    "__Type.fields": ofTypes(fields.map(({ length }) => length)),
    "__Type.inputFields": ofTypes(
      types.filter(isInputObjectType).map((type) => Object.keys(type.getFields()).length),
    ),
    "__Type.enumValues": ofTypes(types.filter(isEnumType).map((type) => type.getValues().length)),
    "__Field.args": summary(
      fields.flat().map(({ args }) => args.length),
      fields.flat().length,
    ),
    "__Directive.args": summary(
      directives.map(({ args }) => args.length),
      directives.length,
    ),
    "__Directive.locations": summary(
      directives.map(({ locations }) => locations.length),
      directives.length,
    ),
  };
}

function summary(counts: number[], of: number): { most: number; mean: number } {
  const sum = counts.reduce((total, count) => total + count, 0);
  return { most: Math.max(0, ...counts), mean: of > 0 ? sum / of : 0 };
}
