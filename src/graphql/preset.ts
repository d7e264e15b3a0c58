import { PgSimplifyInflectionPreset } from "@graphile/simplify-inflection";
import type { Pool } from "pg";
import { makePgService } from "postgraphile/adaptors/pg";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";
import { PostGraphileConnectionFilterPreset } from "postgraphile-plugin-connection-filter";
import type { MutationLimits } from "../config.ts";
import type { SuspensionWatch } from "../database/suspension.ts";
import type { Logger } from "../log.ts";
import { makeAuthenticationPlugin } from "./authentication.ts";
import { DocumentLimitsPlugin, documentCacheSize } from "./document-limits.ts";
import { makeMaskError, ThrownErrorsPlugin } from "./errors.ts";
import { InsightOrderPlugin } from "./insight-order.ts";
import { makeAllowance } from "./mutation-limits.ts";
import { NamingPlugin } from "./naming.ts";
import { RelationsPlugin } from "./relations.ts";
import { maxBodyBytes, RequestBodyPlugin } from "./request-body.ts";
import { makeRequestLimitsPlugin } from "./request-limits.ts";
import { ScalarsPlugin } from "./scalars.ts";
import { sessionOf } from "./session.ts";
import { SettingsPatchPlugin } from "./settings-patch.ts";
import { ShapePlugin } from "./shape.ts";
import { makeShare, type Share, shareConnections } from "./shares.ts";
import { SubscriptionsPlugin } from "./subscriptions.ts";
import { makeSuspensionPlugin } from "./suspension.ts";
import type { ExpectedClaims } from "./token.ts";
import { TotalOrderPlugin } from "./total-order.ts";

/** What nexus_api becomes in GraphQL. */
export function makeSchemaPreset(pool: Pool, share = makeShare()): GraphileConfig.Preset {
  const service = makePgService({
    pool,
    schemas: ["nexus_api"],
    // Announcements are heard by our own connection, which says when it was away.
    pubsub: false,
    // The schema shows what nexus_tienda may see, and no more.
    pgSettingsForIntrospection: { role: "nexus_tienda" },
  });
  return { extends: [schemaPreset], pgServices: [shareConnections(service, share)] };
}

const schemaPreset: GraphileConfig.Preset = {
  extends: [
    PostGraphileAmberPreset,
    PgSimplifyInflectionPreset,
    PostGraphileConnectionFilterPreset,
  ],
  plugins: [
    NamingPlugin,
    ShapePlugin,
    InsightOrderPlugin,
    TotalOrderPlugin,
    RelationsPlugin,
    SettingsPatchPlugin,
    ScalarsPlugin,
    SubscriptionsPlugin,
  ],
  disablePlugins: [
    // Global ids.
    "NodePlugin",
    "AddNodeInterfaceToSuitableTypesPlugin",
    "NodeAccessorPlugin",
    "RegisterQueryNodePlugin",
    // Query inside of Query and of every mutation's answer.
    "QueryQueryPlugin",
    "MutationPayloadQueryPlugin",
    "PgMutationPayloadEdgePlugin",
    "ClientMutationIdDescriptionPlugin",
    // A second way to filter, filters across relations, and filters inside filters.
    "PgConditionArgumentPlugin",
    "PgConditionCustomFieldsPlugin",
    "PgConnectionArgFilterForwardRelationsPlugin",
    "PgConnectionArgFilterBackwardRelationsPlugin",
    "PgConnectionArgFilterLogicalOperatorsPlugin",
    // Our own orders and their defaults are in InsightOrderPlugin and ShapePlugin.
    "PgOrderByPrimaryKeyPlugin",
    "PgConnectionArgOrderByDefaultValuePlugin",
  ],
  // Arguments without a default are required.
  gather: { pgStrictFunctions: true },
  schema: {
    // Columns are ordered and filtered by where their comment in sql/api says so.
    defaultBehavior:
      "-insert -update -delete -resource:connection:backwards -attribute:orderBy -attribute:filterBy",
    pgForbidSetofFunctionsToReturnNull: true,
    connectionFilterArrays: false,
    connectionFilterComputedColumns: false,
    connectionFilterSetofFunctions: false,
    // Null is refused before, by name: see inputs.ts. A filter without conditions filters nothing.
    connectionFilterAllowNullInput: false,
    connectionFilterAllowEmptyObjectInput: true,
  },
};

export type PresetOptions = {
  /** Connections that act as nexus_server. */
  pool: Pool;
  /** Of the pool, by user. */
  share: Share;
  /** Whether the engine may work. */
  suspension: SuspensionWatch;
  secretKeys: readonly Uint8Array[];
  expectedClaims?: ExpectedClaims;
  statementTimeoutMs: number;
  mutationLimits: MutationLimits;
  log: Logger;
  /** Whether to show the Ruru IDE at /. */
  ide: boolean;
};

/** The GraphQL server: each request runs as nexus_tienda, with the id of its user. */
export function makePreset(options: PresetOptions): GraphileConfig.Preset {
  const { pool, share, suspension, secretKeys, statementTimeoutMs, mutationLimits, log, ide } =
    options;
  return {
    extends: [makeSchemaPreset(pool, share)],
    plugins: [
      ThrownErrorsPlugin,
      RequestBodyPlugin,
      makeAuthenticationPlugin(secretKeys, pool, share, suspension, log, options.expectedClaims),
      makeSuspensionPlugin(suspension),
      DocumentLimitsPlugin,
      makeRequestLimitsPlugin(makeAllowance(pool, share, mutationLimits)),
    ],
    grafast: {
      context: ({ userId, ws }) => {
        const session = sessionOf(ws?.socket);
        return {
          live: session?.live,
          pgSettings: {
            role: "nexus_tienda",
            "nexus.user_id": session?.userId ?? userId,
            statement_timeout: String(statementTimeoutMs),
          },
        };
      },
      timeouts: { planning: 2_000 },
      explain: false,
    },
    grafserv: {
      graphqlPath: "/graphql",
      graphiql: ide,
      graphiqlPath: "/",
      graphiqlOnGraphQLGET: false,
      graphqlOverGET: false,
      websockets: false,
      watch: false,
      maxRequestLength: maxBodyBytes,
      parseAndValidateCacheSize: documentCacheSize,
      outputDataAsString: true,
      maskError: makeMaskError(log, suspension),
    },
  };
}
