import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { endSocket, graphqlError, sendJson } from "../answers.ts";
import { retryAfter, suspendedMessage } from "./errors.ts";
import { type GraphQLOptions, type GraphQLServer, openGraphQL } from "./server.ts";

/** From one attempt to build the schema to the next. */
const retryMs = 1_000;

export type Gate = GraphQLServer & {
  /** Whether it answers questions. */
  isOpen(): boolean;
};

/**
 * The GraphQL server, which refuses everything while the engine is suspended. Its schema is built from the
 * database as soon as that can be done, and kept: a detachment takes the views away and puts the same back.
 * Rejects when it cannot be built though the engine is not suspended.
 */
export async function startGraphQL(options: GraphQLOptions): Promise<Gate> {
  const { suspension, log } = options;
  const closing = new AbortController();
  let server: GraphQLServer | undefined;
  let isOpen = false;
  let opening: Promise<void> | undefined;

  /** Throws where the schema cannot be built, unless that is because the engine is suspended. */
  async function open(): Promise<void> {
    try {
      if (suspension.current()) return;
      server ??= await openGraphQL(options);
      isOpen = suspension.current() === undefined;
    } catch (error) {
      if (!(await suspension.look())) throw error;
    }
  }

  async function openAgain(): Promise<void> {
    while (!isOpen && !suspension.current() && !closing.signal.aborted) {
      await open().catch(async (err: unknown) => {
        log.error({ err }, "the GraphQL schema could not be built, trying again");
        await sleep(retryMs, undefined, { signal: closing.signal }).catch(() => {});
      });
    }
  }

  const unhear = suspension.onChange(() => {
    if (suspension.current()) {
      isOpen = false;
      server?.endSubscriptions();
    } else {
      opening = Promise.resolve(opening).then(openAgain);
    }
  });

  function refuse(res: ServerResponse): void {
    const message = suspension.current() ? suspendedMessage : "The service is starting, try again.";
    res.setHeader("retry-after", String(retryAfter));
    sendJson(res, 503, graphqlError("UNAVAILABLE", message, { retryAfter }));
  }

  try {
    await open();
  } catch (error) {
    unhear();
    throw error;
  }
  return {
    isOpen: () => isOpen,
    async handle(req, res, notFound) {
      if (server && isOpen) return server.handle(req, res, notFound);
      if (pathOf(req) === "/graphql") refuse(res);
      else notFound();
    },
    upgrade(req, socket, head) {
      if (server && isOpen) server.upgrade(req, socket, head);
      else endSocket(socket, 503, "UNAVAILABLE");
    },
    endSubscriptions: () => server?.endSubscriptions(),
    closeSockets: async () => {
      unhear();
      closing.abort();
      isOpen = false;
      await opening;
      isOpen = false;
      await server?.closeSockets();
    },
    release: async () => server?.release(),
  };
}

const pathOf = (req: IncomingMessage) => req.url?.split("?", 1)[0];
