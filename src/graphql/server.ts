import "./graphile-env.ts";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Pool } from "pg";
import { type PostGraphileInstance, postgraphile } from "postgraphile";
import { grafserv } from "postgraphile/grafserv/node";
import type { GraphQLSchema } from "postgraphile/graphql";
import { makePreset, makeSchemaPreset, type PresetOptions } from "./preset.ts";

export type GraphQLServer = {
  /** Answers the request, or calls `notFound` when it is none of GraphQL's. */
  handle(req: IncomingMessage, res: ServerResponse, notFound: () => void): Promise<void>;
  /** Ends subscriptions and gives connections back to the pool, which stays open. */
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

/** Builds the schema from the database; rejects when that fails. */
export async function startGraphQL(options: PresetOptions): Promise<GraphQLServer> {
  const instance = postgraphile(makePreset(options));
  const server = instance.createServ(grafserv);
  const release = () => releaseInstance(instance);
  try {
    await instance.getSchema();
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
  return { handle, release };
}
