import { randomUUID } from "node:crypto";
import type { Pool } from "pg";
import { type Conversation, hold } from "../pos/conversation.ts";
import { clearAll, dismissOne, refresh } from "../pos/insights.ts";

/** The POS's own insight endpoints of one store. Each call fails where the POS answers 500. */
export class PosInsights {
  readonly #pool: Pool;
  readonly #caller: { user: string; store: string };

  constructor(pool: Pool, store: string) {
    this.#pool = pool;
    this.#caller = { user: randomUUID(), store };
  }

  /** POST /insights/refresh. `between` runs after each of its commits. Returns how many it wrote. */
  async refresh({
    force = false,
    at = new Date(),
    between,
  }: {
    force?: boolean;
    at?: Date;
    between?: () => Promise<void>;
  } = {}): Promise<number> {
    const lines = await this.#hold(refresh(this.#caller, at, force), between);
    return lines.filter((line) => line.startsWith("insert into insights")).length;
  }

  async dismiss(id: string): Promise<void> {
    await this.#hold(dismissOne(this.#caller, id));
  }

  async clearAll(onlyArchived = false): Promise<void> {
    await this.#hold(clearAll(this.#caller, onlyArchived));
  }

  async #hold(conversation: Conversation, between?: () => Promise<void>): Promise<string[]> {
    const { status, lines } = await hold(this.#pool, conversation, between);
    if (status === 500) throw new Error(lines.at(-1));
    return lines;
  }
}
