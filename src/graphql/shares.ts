import type { PgAdaptor } from "postgraphile/@dataplan/pg";
import { makeTurns } from "./turns.ts";

/** Connections of the pool that one user holds or waits for at a time, in a process. */
const maxConnections = 3;

/** Does what takes one connection of the pool once the user has fewer than its share. */
export type Share = <T>(userId: string, work: () => PromiseLike<T>) => Promise<T>;

/**
 * Makes what a user asks the database wait for the user's own statements rather than in the pool's
 * queue: a document asks once for each of its root fields, all at the same time. Who holds one must
 * not wait for another inside, or three who do would wait for ever.
 */
export function makeShare(): Share {
  const turns = makeTurns(maxConnections, Number.POSITIVE_INFINITY);
  return async (userId, work) => {
    const user = userId.toLowerCase();
    await turns.take(user);
    try {
      return await work();
    } finally {
      turns.give(user);
    }
  };
}

type Service = GraphileConfig.PgServiceConfiguration;

/**
 * The service with the share of the user whom the settings of a statement name; without one, as for
 * the introspection, nothing waits. PostGraphile gives a connection back before it takes the next:
 * only @stream, which our schema has not, would hold one meanwhile.
 */
export function shareConnections(service: Service, share: Share): Service {
  const createWithPgClient: PgAdaptor["createWithPgClient"] = async (settings, variant) => {
    const original = await service.adaptor.createWithPgClient(settings, variant);
    const shared: typeof original = (pgSettings, callback) => {
      const userId = pgSettings?.["nexus.user_id"];
      if (userId === undefined) return original(pgSettings, callback);
      return share(userId, () => original(pgSettings, callback));
    };
    return Object.assign(shared, original.release && { release: original.release });
  };
  return { ...service, adaptor: { ...service.adaptor, createWithPgClient } };
}
