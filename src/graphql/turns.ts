/** Requests of one user that run at once in a process, and that may wait for it. */
const maxRunning = 6;
const maxWaiting = 100;

export type Turns = {
  /** Resolves when the request may run; to false, at once, when too many of the user wait. */
  take(userId: string): Promise<boolean>;
  /** Lets the user's next request run. */
  give(userId: string): void;
};

/**
 * Makes each user's requests wait for one another rather than for nobody: one who sends a thousand
 * at once would otherwise stand in the connection pool's queue before all others. What one of them asks
 * the database at once is bounded in shares.ts.
 */
export function makeTurns(running = maxRunning, waiting = maxWaiting): Turns {
  const users = new Map<string, { running: number; waiting: ((mayRun: true) => void)[] }>();
  return {
    async take(userId) {
      const user = users.get(userId) ?? { running: 0, waiting: [] };
      users.set(userId, user);
      if (user.running < running) {
        user.running += 1;
        return true;
      }
      if (user.waiting.length >= waiting) return false;
      return new Promise((resolve) => user.waiting.push(resolve));
    },

    give(userId) {
      const user = users.get(userId);
      if (!user) return;
      const next = user.waiting.shift();
      if (next) next(true);
      else user.running -= 1;
      if (user.running === 0) users.delete(userId);
    },
  };
}
