/** Where the trivial task says that it has begun. */
export const starts = { tell: (_n: number): void => {} };
