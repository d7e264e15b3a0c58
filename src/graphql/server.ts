import "./graphile-env.ts";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Pool } from "pg";
import { type PostGraphileInstance, postgraphile } from "postgraphile";
import { makeGraphQLWSConfig } from "postgraphile/grafserv";
import { grafserv } from "postgraphile/grafserv/node";
import type { GraphQLSchema } from "postgraphile/graphql";
import { startAnnouncements } from "./announcements.ts";
import { limitPlanCache } from "./document-limits.ts";
import { makePreset, makeSchemaPreset, type PresetOptions } from "./preset.ts";
import { makeShare } from "./shares.ts";
import { startWebSockets } from "./websocket.ts";

export type GraphQLServer = {
  /** Answers the request, or calls `notFound` when it is none of GraphQL's. */
  handle(req: IncomingMessage, res: ServerResponse, notFound: () => void): Promise<void>;
  /** Takes a WebSocket for subscriptions, or refuses it. */
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Ends all subscriptions, whose clients come again. */
  endSubscriptions(): void;
  /** Ends the subscriptions and takes no more. */
  closeSockets(): Promise<void>;
  /** Gives connections back to the pool, which stays open. */
  release(): Promise<void>;
};

/** The schema alone, without a server. */
export async function buildSchema(pool: Pool): Promise<GraphQLSchema> {
  const instance = postgraphile(makeSchemaPreset(pool));
  try {
    return await instance.getSchema();
  } finally {
    await releaseInstance(instance);
  }
}

/** Not all done by instance.release: without the rest the pool never ends while someone listens. */
async function releaseInstance(instance: PostGraphileInstance): Promise<void> {
  for (const service of instance.getResolvedPreset().pgServices ?? []) await service.release?.();
  await instance.release();
}

export type GraphQLOptions = Omit<PresetOptions, "share"> & {
  /** See HttpOptions. */
  listening?: Pool;
  /** How often subscribers are pinged, and their users looked at again; default 30 seconds. */
  subscriberCheckMs?: number;
};

/** Builds the schema from the database; rejects when that fails. */
export async function openGraphQL(options: GraphQLOptions): Promise<GraphQLServer> {
  const share = makeShare();
  const instance = postgraphile(makePreset({ ...options, share }));
  const server = instance.createServ(grafserv);
  const announcements = startAnnouncements(options.listening ?? options.pool, options.log);
  const release = async () => {
    await announcements.close();
    await releaseInstance(instance);
  };
  try {
    limitPlanCache(await instance.getSchema());
    await server.ready();
  } catch (error) {
    await release();
    throw error;
  }
  const handler = server.createHandler();
  const handle: GraphQLServer["handle"] = async (req, res, notFound) => {
    let failure: Error | undefined;
    await handler(req, res, (error) => {
      if (error) failure = error;
      else notFound();
    });
    if (failure) throw failure;
  };
  const sockets = startWebSockets({
    ...options,
    graphql: makeGraphQLWSConfig(server),
    announcements,
    share,
    checkMs: options.subscriberCheckMs ?? 30_000,
  });
  return {
    handle,
    upgrade: sockets.upgrade,
    endSubscriptions: sockets.endAll,
    closeSockets: sockets.close,
    release,
  };
}
