/**
 * The steps of a start: each says in a line what it did, and what fails is known by its step.
 */

/** Takes the line of a step, such as "roles: there". */
export type Say = (line: string) => void;

const failedAt = new WeakMap<object, string>();

/** Does the work of a step; an error remembers where it was. */
export async function atStep<T>(step: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error && !failedAt.has(error)) failedAt.set(error, step);
    throw error;
  }
}

/** The step at which this failed; undefined where it was none. */
export function stepOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  return failedAt.get(error) ?? stepOf(error.cause);
}
