import {
  type ASTNode,
  type ASTVisitor,
  type GraphQLError,
  Kind,
  type ValidationContext,
  type ValidationRule,
  ValuesOfCorrectTypeRule,
} from "postgraphile/graphql";
import { badInput, type Place, placeIn } from "./refusals.ts";

type Enter = (...args: unknown[]) => unknown;

/** Graphql's rule about values that are written into a document, with the field in each error. */
function namedValuesRule(context: ValidationContext): ASTVisitor {
  let place: Place = [];
  const naming = Object.create(context, {
    reportError: {
      value: (error: GraphQLError) => {
        // A field that is missing is none of the places that are entered.
        const missing = /^Field "\w+\.(\w+)" of required type/.exec(error.message)?.[1];
        context.reportError(
          badInput(missing ? [...place, missing] : place, error.message, error.nodes?.[0]),
        );
      },
    },
  }) as ValidationContext;
  const visitor = ValuesOfCorrectTypeRule(naming) as Record<string, Enter>;
  return Object.fromEntries(
    Object.entries(visitor).map(([kind, enter]) => [
      kind,
      (...args: unknown[]) => {
        const [node, , , , ancestors] = args as [ASTNode, unknown, unknown, unknown, ASTNode[]];
        place = placeIn([...ancestors, ...(node.kind === Kind.OBJECT_FIELD ? [node] : [])]);
        return enter(...args);
      },
    ]),
  );
}

/** The rules with that one in the place of graphql's. */
export const withNamedValues = (rules: readonly ValidationRule[]): ValidationRule[] =>
  rules.map((rule) => (rule === ValuesOfCorrectTypeRule ? namedValuesRule : rule));
