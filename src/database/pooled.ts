import type { QueryResult } from "pg";

type Callback = (error: Error | null, result?: QueryResult) => void;
type Text = string | { text: string };
export type Query = (
  statement: Text,
  values?: unknown[] | Callback,
  callback?: Callback,
) => Promise<QueryResult> | undefined;

const begins = /^\s*begin\b/i;
const ends = /^\s*(commit|rollback|end)\s*;?\s*$/i;

/**
 * Has every statement run in a transaction that begins with `begin()`: one of its own where the caller
 * begins none. For a pooler that gives each transaction another session: what is set for a session
 * would be lost, or stay behind for somebody else. Statements take turns, as they were sent.
 */
export function transactionsOnly(send: Query, begin: () => string): Query {
  let inside = false;
  let last: Promise<unknown> = Promise.resolve();

  async function open(): Promise<QueryResult> {
    try {
      return (await send(begin())) as QueryResult;
    } catch (error) {
      // Part of it may have run, and the transaction would stay open.
      await Promise.resolve(send("rollback")).catch(() => {});
      throw error;
    }
  }

  async function run(statement: Text, values?: unknown[]): Promise<QueryResult> {
    const text = typeof statement === "string" ? statement : statement.text;
    if (begins.test(text)) {
      const begun = await open();
      inside = true;
      return begun;
    }
    if (inside || ends.test(text)) {
      if (ends.test(text)) inside = false;
      return (await send(statement, values)) as QueryResult;
    }
    await open();
    try {
      const result = (await send(statement, values)) as QueryResult;
      await send("commit");
      return result;
    } catch (error) {
      await Promise.resolve(send("rollback")).catch(() => {});
      throw error;
    }
  }

  return (statement, values, callback) => {
    const done = typeof values === "function" ? values : callback;
    const parameters = typeof values === "function" ? undefined : values;
    const result = last.then(() => run(statement, parameters));
    last = result.catch(() => {});
    if (!done) return result;
    result.then(
      (rows) => done(null, rows),
      (error: Error) => done(error),
    );
    return undefined;
  };
}
