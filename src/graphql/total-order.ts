import {
  type PgCodec,
  type PgOrderSpec,
  type PgSelectQueryBuilder,
  TYPES,
} from "postgraphile/@dataplan/pg";
import { sql } from "postgraphile/pg-sql2";
import { InsightOrderPlugin } from "./insight-order.ts";

type Apply = (query: PgSelectQueryBuilder) => void;

/** Types that have infinities, which no usable value of a view is. */
const endless = new Set(["float8", "timestamptz"]);

/**
 * Makes every order total and free of nulls, which cursors cannot go by: rows with a usable value first, in
 * their order, whichever it is, then the others. PostGraphile lets the id decide among equals.
 */
export const TotalOrderPlugin: GraphileConfig.Plugin = {
  name: "TotalOrderPlugin",
  version: "1.0.0",
  // Those that say by what there is an order.
  after: ["PgOrderAllAttributesPlugin", InsightOrderPlugin.name],
  schema: {
    hooks: {
      GraphQLEnumType_values(values, _build, { scope }) {
        const { isPgRowSortEnum, pgCodec } = scope;
        if (!isPgRowSortEnum || !pgCodec?.attributes) return values;
        for (const { extensions } of Object.values(values)) {
          const grafast = extensions?.grafast as { apply?: Apply } | undefined;
          if (grafast?.apply) grafast.apply = total(grafast.apply, pgCodec);
        }
        return values;
      },
    },
  },
};

function total(apply: Apply, table: PgCodec): Apply {
  const specs: PgOrderSpec[] = [];
  let unique = false;
  apply({
    orderBy: (spec: PgOrderSpec) => specs.push(spec),
    setOrderIsUnique: () => {
      unique = true;
    },
  } as unknown as PgSelectQueryBuilder);
  const orders = specs.map((spec) => withoutNulls(spec, table));
  return (query) => {
    for (const order of orders) query.orderBy(order);
    if (unique) query.setOrderIsUnique();
  };
}

function withoutNulls(spec: PgOrderSpec, table: PgCodec): PgOrderSpec {
  if (!("attribute" in spec) || !spec.attribute) return spec;
  const attribute = table.attributes?.[spec.attribute];
  if (attribute?.notNull) return spec;
  if (!attribute || !endless.has(attribute.codec.name)) {
    throw new Error(`${table.name}.${spec.attribute}: no value that comes last instead of null`);
  }
  const last = sql.literal(spec.direction === "ASC" ? "infinity" : "-infinity");
  return {
    attribute: spec.attribute,
    direction: spec.direction,
    // A cursor has it as Postgres writes it: JSON has no infinities.
    callback: (column, { sqlType }) => [
      sql`coalesce(${column}, ${last}::${sqlType})`,
      { ...TYPES.text, sqlType, castFromPg: (value) => sql`${value}::text` },
      false,
    ],
  };
}
