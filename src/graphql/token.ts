import { errors, jwtVerify, SignJWT } from "jose";
import { apiError } from "./errors.ts";

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export type Claims = {
  /** users.id */
  userId: string;
  /** Unix time in milliseconds. */
  expiresAt: number;
};

/**
 * What a token of the POS says: HS256 with one of these keys (two while a key is replaced),
 * claims sub and exp.
 * Throws UNAUTHENTICATED, or TOKEN_EXPIRED when the token was once good.
 */
export async function verifyToken(token: string, keys: readonly Uint8Array[]): Promise<Claims> {
  let expired = false;
  for (const key of keys) {
    try {
      const { payload } = await jwtVerify(token, key, {
        algorithms: ["HS256"],
        requiredClaims: ["sub", "exp"],
      });
      const { sub, exp } = payload;
      if (typeof sub === "string" && uuid.test(sub) && exp !== undefined) {
        return { userId: sub, expiresAt: exp * 1000 };
      }
    } catch (error) {
      // Only a token whose signature is right gets as far as this.
      if (error instanceof errors.JWTExpired) expired = true;
    }
  }
  throw expired
    ? apiError("TOKEN_EXPIRED", "The token has expired: log in again.")
    : apiError("UNAUTHENTICATED", "Expected a token of the POS that is signed and not expired.");
}

/** The keys whose tokens are good: that of now, and that of before while it is given. */
export function secretKeys(current: string, previous: string | undefined): Uint8Array[] {
  const keys = previous === undefined ? [current] : [current, previous];
  return keys.map((key) => new TextEncoder().encode(key));
}

/** A token as the POS signs it. */
export async function signToken(
  userId: string,
  key: Uint8Array,
  lifetimeSeconds: number,
): Promise<string> {
  return new SignJWT()
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setSubject(userId)
    .setExpirationTime(Math.floor(Date.now() / 1000 + lifetimeSeconds))
    .sign(key);
}
