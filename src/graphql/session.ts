import type { Live } from "./live.ts";

declare global {
  namespace Grafast {
    interface Context {
      /** Only over a WebSocket. */
      live?: Live | undefined;
    }
  }
}

/** Who is at the other end of a WebSocket. */
export type Session = { userId: string; tiendaId: string; live: Live };

const sessions = new WeakMap<object, Session>();

export function sessionOf(socket: object | undefined): Session | undefined {
  return socket && sessions.get(socket);
}

export function openSession(socket: object, session: Session): void {
  sessions.set(socket, session);
}
