import { PgSelectSingleStep, PgSelectStep, TYPES } from "postgraphile/@dataplan/pg";
import { ConnectionStep, type FieldPlanResolver, type Step } from "postgraphile/grafast";
import { type SQL, sql } from "postgraphile/pg-sql2";

/** An instant as a client sees it, made only of the rows of a page: see the function. */
const castInstant = (at: SQL) => sql`nexus_api.iso_instant(${at})`;
Object.assign(TYPES.timestamptz, { castFromPg: castInstant });

/** Has relations looked up for the rows of a page, and not for each row that the page was chosen from. */
export const RelationsPlugin: GraphileConfig.Plugin = {
  name: "RelationsPlugin",
  version: "1.0.0",
  schema: {
    hooks: {
      GraphQLObjectType_fields_field(field, _build, { Self, scope }) {
        const { plan } = field;
        if (!plan) return field;
        if (scope.isPgSingleRelationField) return { ...field, plan: apart(plan) };
        if (scope.isPgManyRelationConnectionField && Self.name === "Producto") {
          return { ...field, plan: amongInsightsOf(plan) };
        }
        return field;
      },
    },
  },
};

type Plan = FieldPlanResolver;

/** Joined in place, Postgres would join first and then take the page. */
function apart(plan: Plan): Plan {
  return ($record, args, info) => {
    const $related = plan($record, args, info);
    if ($related instanceof PgSelectSingleStep) $related.getClassStep().setInliningForbidden();
    return $related;
  };
}

/** Looks among the insights that may be of the product, by their ids, instead of among all of the store. */
function amongInsightsOf(plan: Plan): Plan {
  return ($producto: Step, args, info) => {
    const $connection = plan($producto, args, info);
    const $insights = $connection instanceof ConnectionStep && $connection.getSubplan();
    if (!($insights instanceof PgSelectStep) || !($producto instanceof PgSelectSingleStep)) {
      throw new Error("expected the insights of a product");
    }
    const id = $insights.placeholder($producto.get("id"));
    // As a subquery, which is run once a product, and not for each row that Postgres may look at.
    const ids = sql`(select nexus_api.insights_of_producto(${id}))::uuid[]`;
    $insights.where(sql`${$insights.alias}.id = any (${ids})`);
    return $connection;
  };
}
