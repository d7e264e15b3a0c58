import type { GraphQLOutputType } from "postgraphile/graphql";
import { defaultPage, maxPage } from "./price.ts";

/** Defaults of arguments: those that SQL gives them, where clients can see them. */
const defaultValues: Record<string, Record<string, unknown>> = {
  ClearInsightsInput: { onlyArchived: true },
  RefreshInsightsInput: { force: false },
};

/** The operators of each type of filter; another type has all there are. */
const operators: Record<string, string[]> = {
  BooleanFilter: ["equalTo"],
  DatetimeFilter: ["lessThan", "lessThanOrEqualTo", "greaterThan", "greaterThanOrEqualTo"],
  FloatFilter: ["equalTo", "lessThan", "lessThanOrEqualTo", "greaterThan", "greaterThanOrEqualTo"],
  StringFilter: ["equalTo", "notEqualTo", "in", "notIn", "includesInsensitive"],
};

/** How lists are ordered unless the client says otherwise; the values are those of the enum. */
const defaultOrders: Record<string, unknown> = {
  InsightOrderBy: ["URGENCIA"],
  ProductoOrderBy: ["NOMBRE_ASC"],
  TopProductosOrder: "UNITS",
  ProfitabilityOrder: "PROFIT",
};

const queryDescription = `
All of it is about the store of the user who asks. Amounts are pesos, as numbers that are exact to the
cent; quantities are units, or kilos of weighed products. A business day runs from one dayStartsAt of
the store to the next, in its own time zone, and bears the date on which it begins.`.trim();
const mutationDescription =
  "Changes to the store of the user who asks, each in a transaction of its own.";
const subscriptionDescription = `
What happens in the store of the user who asks, over a WebSocket (graphql-ws). Each subscription begins
with a message: what is queried after it has come is followed by every later change.`.trim();

/** What PostGraphile generates, as small and as strict as the POS app wants it. */
export const ShapePlugin: GraphileConfig.Plugin = {
  name: "ShapePlugin",
  version: "1.0.0",
  after: [
    "PgFirstLastBeforeAfterArgsPlugin",
    "PgConnectionArgOrderByPlugin",
    "PgConnectionArgFilterOperatorsPlugin",
    "PgCustomTypeFieldPlugin",
  ],
  schema: {
    hooks: {
      GraphQLObjectType(type, _build, { scope }) {
        if (scope.isRootQuery) return { ...type, description: queryDescription };
        if (scope.isRootMutation) return { ...type, description: mutationDescription };
        if (scope.isRootSubscription) return { ...type, description: subscriptionDescription };
        return type;
      },

      GraphQLObjectType_fields(fields) {
        const { clientMutationId: _, ...rest } = fields;
        return rest;
      },

      GraphQLInputObjectType_fields(fields, _build, { Self }) {
        const { clientMutationId: _, ...rest } = fields;
        const useful = operators[Self.name];
        return useful
          ? Object.fromEntries(Object.entries(rest).filter(([name]) => useful.includes(name)))
          : rest;
      },

      GraphQLInputObjectType_fields_field(field, _build, { Self, scope }) {
        const value = defaultValues[Self.name]?.[scope.fieldName];
        return value === undefined ? field : { ...field, defaultValue: value };
      },

      GraphQLObjectType_fields_field(field, build, { Self, scope }) {
        const {
          GraphQLList,
          GraphQLNonNull,
          isListType,
          isNonNullType,
          isNullableType,
          getNullableType,
        } = build.graphql;
        const wholeLists = (type: GraphQLOutputType): GraphQLOutputType => {
          if (isNonNullType(type)) return new GraphQLNonNull(wholeLists(type.ofType));
          return isListType(type) && isNullableType(type.ofType)
            ? new GraphQLList(new GraphQLNonNull(type.ofType))
            : type;
        };
        const type = wholeLists(field.type);
        // An error in one root field leaves the others of the same request alone; a list says that
        // it is never null otherwise.
        if (scope.isRootQuery || scope.isRootSubscription) {
          const nullable = getNullableType(type);
          return { ...field, type: isListType(nullable) ? new GraphQLNonNull(nullable) : nullable };
        }
        // A mutation that succeeds has a result.
        if (Self.name.endsWith("Payload"))
          return { ...field, type: new GraphQLNonNull(getNullableType(type)) };
        return { ...field, type };
      },

      GraphQLObjectType_fields_field_args(args, build, { scope }) {
        const {
          GraphQLInt,
          GraphQLNonNull,
          getNamedType,
          isInputObjectType,
          isRequiredInputField,
        } = build.graphql;
        const { offset: _, ...rest } = args;
        if (rest["first"]) {
          rest["first"] = {
            ...rest["first"],
            type: new GraphQLNonNull(GraphQLInt),
            defaultValue: defaultPage,
            description: `At most so many, from 0 to ${maxPage}.`,
          };
        }
        if (rest["orderBy"]) {
          const order = defaultOrders[getNamedType(rest["orderBy"].type).name];
          rest["orderBy"] = { ...rest["orderBy"], defaultValue: order };
        }
        const input = rest["input"];
        const inputType = input && getNamedType(input.type);
        if (input && isInputObjectType(inputType) && scope.isRootMutation) {
          const optional = !Object.values(inputType.getFields()).some(isRequiredInputField);
          rest["input"] = { ...input, ...(optional && { defaultValue: {} }) };
        }
        return rest;
      },

      GraphQLEnumType_values(values) {
        const { NATURAL: _, ...rest } = values;
        return rest;
      },
    },
  },
};
