import { context, get, listen, type Step } from "postgraphile/grafast";
import { extendSchema, gql } from "postgraphile/utils";
import type { Live } from "./live.ts";

/** The subscriptions; what they stream is in live.ts, and every row is read as the user may see it. */
export const SubscriptionsPlugin = extendSchema((build) => {
  const view = (name: string) => {
    const resource = Object.values(build.input.pgRegistry.pgResources).find(
      (resource) => resource.extensions?.pg?.name === name && !resource.parameters,
    );
    if (!resource) throw new Error(`expected a view nexus_api.${name}`);
    return resource;
  };
  const insights = view("insights");
  const requests = view("refresh_requests");
  const itself = ($event: Step) => $event;
  const stream = (name: keyof Live) => get(context().get("live") as Step, name);

  return {
    typeDefs: gql`
      extend type Subscription {
        """
        Insights that are new, changed or resolved.
        """
        insightChanged: InsightChanges
        """
        The refresh request: at once, and whenever it changes. Null when the store has no such request.
        """
        refreshRequestChanged(id: UUID!): RefreshRequest
      }

      """
      What became of insights of the store.
      """
      type InsightChanges {
        """
        True in the first message, after an interruption, and when more than 100 insights changed at
        once: ask \`insights\` anew. \`changes\` is empty then.
        """
        refetch: Boolean!
        changes: [InsightChange!]!
      }

      """
      What became of an insight.
      """
      type InsightChange {
        id: UUID!
        kind: InsightChangeKind!
        """
        As it is now; null when it was deleted.
        """
        insight: Insight
      }

      enum InsightChangeKind {
        NEW
        CHANGED
        """
        Dismissed, no longer so, or replaced by a newer one.
        """
        RESOLVED
      }
    `,
    objects: {
      Subscription: {
        plans: {
          insightChanged: {
            subscribePlan: () => listen(stream("insightChanged"), "", itself),
            plan: itself,
          },
          refreshRequestChanged: {
            subscribePlan: (_$root, fieldArgs) =>
              listen(stream("refreshRequestChanged"), fieldArgs.getRaw("id"), itself),
            plan: ($id) => requests.get({ id: $id }),
          },
        },
      },
      InsightChange: {
        plans: {
          insight: ($change: Step) => insights.get({ id: get($change, "id") }),
        },
      },
    },
  };
});
