import { errors, jwtVerify, SignJWT } from "jose";
import { apiError } from "./errors.ts";

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** How far the POS's clock may be ahead of ours. */
export const leewaySeconds = 5;
/** Milliseconds or nonsense, not seconds; a date from there on is none that a token ends at. */
const year3000 = Date.UTC(3000) / 1000;

export type Claims = {
  /** users.id */
  userId: string;
  /** Unix time in milliseconds. */
  expiresAt: number;
};

/** What a token must say besides; where nothing is expected nothing is looked at. */
export type ExpectedClaims = { audience?: string | undefined; issuer?: string | undefined };

/**
 * What a token of the POS says: HS256 with one of these keys (two while a key is replaced), claims sub
 * and exp, begun if it says when it was, and with the aud and iss that are expected.
 * Throws UNAUTHENTICATED, or TOKEN_EXPIRED when the token was once good.
 */
export async function verifyToken(
  token: string,
  keys: readonly Uint8Array[],
  { audience, issuer }: ExpectedClaims = {},
): Promise<Claims> {
  let expired = false;
  for (const key of keys) {
    try {
      const { payload } = await jwtVerify(token, key, {
        algorithms: ["HS256"],
        requiredClaims: ["sub", "exp"],
        // Of nbf; exp is held to the second below.
        clockTolerance: leewaySeconds,
        ...(audience !== undefined && { audience }),
        ...(issuer !== undefined && { issuer }),
      });
      const { sub, exp, iat } = payload;
      const now = Date.now() / 1000;
      if (typeof sub !== "string" || !uuid.test(sub)) continue;
      if (exp === undefined || !(exp > 0 && exp < year3000)) continue;
      if (iat !== undefined && (typeof iat !== "number" || iat > now + leewaySeconds)) continue;
      if (exp > now) return { userId: sub, expiresAt: exp * 1000 };
      expired = true;
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
  { audience, issuer }: ExpectedClaims = {},
): Promise<string> {
  const token = new SignJWT()
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setSubject(userId)
    .setExpirationTime(Math.floor(Date.now() / 1000 + lifetimeSeconds));
  if (audience !== undefined) token.setAudience(audience);
  if (issuer !== undefined) token.setIssuer(issuer);
  return token.sign(key);
}
