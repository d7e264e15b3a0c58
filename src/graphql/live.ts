import type { Announcement, Announcements } from "./announcements.ts";
import { createMailbox, type Mailbox } from "./mailbox.ts";

/** Changes in one message, at most as many as a page has rows. Beyond it the client asks anew. */
export const maxChanges = 100;
/** The time from one message of a subscription to the next, at least. */
const minGapMs = 25;

export type InsightChange = { id: string; kind: "NEW" | "CHANGED" | "RESOLVED" };

export type InsightChanges = {
  /** More changed than `changes` can say: none, when it is true. */
  refetch: boolean;
  changes: InsightChange[];
};

/** What the subscriptions of one connection read: of the store of its user, and no other. */
export type Live = {
  insightChanged: { subscribe(): Mailbox<InsightChanges> };
  refreshRequestChanged: { subscribe(id: string): Mailbox<string> };
};

/**
 * The streams for a user of this store. Each begins with a message as soon as nothing can be missed
 * any more: what a client asks for after it has that one is followed by every later change.
 */
export function makeLive(
  announcements: Announcements,
  tiendaId: string,
  mayDeliver: () => boolean,
): Live {
  const stream = <T>(
    hear: (mailbox: Mailbox<T>, announcement: Announcement) => void,
    catchUp: (mailbox: Mailbox<T>) => void,
  ) => {
    const mailbox = createMailbox<T>({ minGapMs, mayDeliver, onEnd: () => stop() });
    const stop = announcements.listen(tiendaId, {
      hear: (announcement) => hear(mailbox, announcement),
      catchUp: () => catchUp(mailbox),
    });
    return mailbox;
  };

  return {
    insightChanged: {
      subscribe: () =>
        stream<InsightChanges>(
          (mailbox, announcement) => {
            if ("many" in announcement) mailbox.put(refetch);
            else if ("new" in announcement) mailbox.put((waiting) => merge(waiting, announcement));
          },
          (mailbox) => mailbox.put(refetch),
        ),
    },
    refreshRequestChanged: {
      subscribe: (id) => {
        const wanted = id.toLowerCase();
        return stream<string>(
          (mailbox, announcement) => {
            if ("request" in announcement && announcement.request === wanted) mailbox.put(() => id);
          },
          (mailbox) => mailbox.put(() => id),
        );
      },
    },
  };
}

const refetch = (): InsightChanges => ({ refetch: true, changes: [] });

/** What waits and what came, one change an insight: a new one stays new until it is resolved. */
function merge(
  waiting: InsightChanges | undefined,
  came: { new: string[]; changed: string[]; resolved: string[] },
): InsightChanges {
  if (waiting?.refetch) return waiting;
  const kinds = new Map(waiting?.changes.map(({ id, kind }) => [id, kind]));
  for (const id of came.new) kinds.set(id, "NEW");
  for (const id of came.changed) if (kinds.get(id) !== "NEW") kinds.set(id, "CHANGED");
  for (const id of came.resolved) kinds.set(id, "RESOLVED");
  if (kinds.size > maxChanges) return refetch();
  return { refetch: false, changes: Array.from(kinds, ([id, kind]) => ({ id, kind })) };
}
