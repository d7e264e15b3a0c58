import {
  type ASTNode,
  type ASTVisitFn,
  type ASTVisitor,
  type GraphQLError,
  Kind,
  type ValidationContext,
  type ValidationRule,
  ValuesOfCorrectTypeRule,
} from "postgraphile/graphql";
import { badInput, type Place, placeIn } from "./refusals.ts";

type Enter = (...args: unknown[]) => unknown;
type Visit = ASTVisitFn<ASTNode>;

/** Graphql's rule about values that are written into a document, with the field in each error. */
function namedValuesRule(context: ValidationContext): ASTVisitor {
  let place: Place = [];
  let at: ASTNode | undefined;
  const naming = Object.create(context, {
    reportError: {
      value: (error: GraphQLError) => {
        // A field that is missing is none of the places that are entered.
        const missing = /^Field "\w+\.(\w+)" of required type/.exec(error.message)?.[1];
        context.reportError(
          badInput(missing ? [...place, missing] : place, error.message, error.nodes?.[0] ?? at),
        );
      },
    },
  }) as ValidationContext;
  const visitor = ValuesOfCorrectTypeRule(naming) as Record<string, Enter>;
  return Object.fromEntries(
    Object.entries(visitor).map(([kind, enter]) => [
      kind,
      (...args: unknown[]) => {
        // What a scalar throws has no node.
        const [node, , parent, , ancestors] = args as Parameters<Visit>;
        at = node;
        place = placeIn([...ancestors, parent, ...(node.kind === Kind.OBJECT_FIELD ? [node] : [])]);
        return enter(...args);
      },
    ]),
  );
}

/** The rules with that one in the place of graphql's. */
export const withNamedValues = (rules: readonly ValidationRule[]): ValidationRule[] =>
  rules.map((rule) => (rule === ValuesOfCorrectTypeRule ? namedValuesRule : rule));
