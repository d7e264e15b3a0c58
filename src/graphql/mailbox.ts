export type Mailbox<T> = AsyncIterableIterator<T, undefined> & {
  /** Leaves something to be read, together with what still waits there. */
  put(merge: (waiting: T | undefined) => T): void;
};

export type MailboxOptions = {
  /** The time from one delivery to the next, at least. */
  minGapMs: number;
  /** While this says no, nothing is delivered. Grafast reads on whether its client keeps up or not. */
  mayDeliver(): boolean;
  onEnd(): void;
};

/**
 * A stream that holds one thing at most: what comes while its reader is busy is merged into what
 * waits, so that neither a burst nor a slow reader makes it grow.
 */
export function createMailbox<T>({ minGapMs, mayDeliver, onEnd }: MailboxOptions): Mailbox<T> {
  const done = { done: true, value: undefined } as const;
  let waiting: T | undefined;
  let reader: ((result: IteratorResult<T, undefined>) => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  let notBefore = 0;
  let ended = false;

  const deliver = () => {
    timer = undefined;
    if (!reader || waiting === undefined) return;
    const delay = mayDeliver() ? notBefore - performance.now() : minGapMs;
    if (delay > 0) {
      timer = setTimeout(deliver, delay);
      return;
    }
    const [read, value] = [reader, waiting];
    reader = undefined;
    waiting = undefined;
    notBefore = performance.now() + minGapMs;
    read({ done: false, value });
  };

  const end = async () => {
    if (ended) return done;
    ended = true;
    clearTimeout(timer);
    waiting = undefined;
    reader?.(done);
    onEnd();
    return done;
  };

  return {
    put(merge) {
      if (ended) return;
      waiting = merge(waiting);
      if (!timer) deliver();
    },
    [Symbol.asyncIterator]() {
      return this;
    },
    next() {
      if (ended) return Promise.resolve(done);
      const { promise, resolve } = Promise.withResolvers<IteratorResult<T, undefined>>();
      reader = resolve;
      if (!timer) deliver();
      return promise;
    },
    return: end,
    throw: end,
  };
}
