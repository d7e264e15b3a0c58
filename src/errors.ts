/**
 * The error codes that clients of the API may see, in `extensions.code`. Messages are for people
 * and may change; codes do not.
 */
export const httpStatusByCode = {
  UNAUTHENTICATED: 401,
  TOKEN_EXPIRED: 401,
  USER_INACTIVE: 403,
  STORE_INACTIVE: 403,
  FORBIDDEN: 403,
  BAD_USER_INPUT: 400,
  NOT_FOUND: 404,
  QUERY_TOO_COMPLEX: 400,
  RATE_LIMITED: 429,
  TIMEOUT: 503,
  UNAVAILABLE: 503,
  INTERNAL: 500,
} as const;

export type ErrorCode = keyof typeof httpStatusByCode;

/**
 * SQLSTATEs that our SQL functions raise, and the code under which the API hands them on.
 * NX001: an argument is not usable; the message names the field, what was expected and what came.
 * NX002: the row does not exist in the caller's store.
 * NX003: the caller may not do this.
 * NX004: the function was called in a way that would break a promise of the engine.
 */
export const codeBySqlState: Record<string, ErrorCode> = {
  NX001: "BAD_USER_INPUT",
  NX002: "NOT_FOUND",
  NX003: "FORBIDDEN",
  NX004: "INTERNAL",
  "57014": "TIMEOUT",
  // Another session keeps what would be changed locked.
  "55P03": "UNAVAILABLE",
  "40P01": "UNAVAILABLE",
  // Text that Postgres cannot store: NUL, half a surrogate pair. Nothing else comes in unchecked.
  "22021": "BAD_USER_INPUT",
  "22P05": "BAD_USER_INPUT",
};
