import assert from "node:assert/strict";
import { createHmac, createSign, generateKeyPairSync, randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { secretKey } from "../graphql/api.ts";
import { fuzz, type Target } from "./target.ts";

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const publicPem = rsa.publicKey.export({ type: "spki", format: "pem" });
const encode = (text: string) => Buffer.from(text).toString("base64url");
const now = () => Math.floor(Date.now() / 1000);

type Signer = { name: string; sign(signed: string): string };
const hmac = (hash: string, key: string | Uint8Array): Signer => ({
  name: `${hash} ${key === secretKey ? "ours" : "other"}`,
  sign: (signed) => createHmac(hash, key).update(signed).digest("base64url"),
});
const good = hmac("sha256", secretKey);
const signers: Signer[] = [
  hmac("sha512", secretKey),
  hmac("sha384", secretKey),
  hmac("sha256", ""),
  hmac("sha256", publicPem),
  hmac("sha256", Buffer.alloc(40, 7)),
  { name: "none", sign: () => "" },
  {
    name: "rsa",
    sign: (signed) => createSign("sha256").update(signed).sign(rsa.privateKey, "base64url"),
  },
  {
    name: "ec",
    sign: (signed) =>
      createSign("sha256")
        .update(signed)
        .sign({ key: ec.privateKey, dsaEncoding: "ieee-p1363" }, "base64url"),
  },
  { name: "our key as a signature", sign: () => Buffer.from(secretKey).toString("base64url") },
];

type Json = unknown;
type Token = { header: Json; claims: Json; signer: Signer; spoil: (token: string) => string };

const algorithms = [
  "HS256",
  "HS256",
  "HS256",
  "HS256",
  "HS512",
  "HS384",
  "none",
  "None",
  "RS256",
  "ES256",
  "hs256",
  "",
  null,
  7,
  ["HS256"],
  { alg: "HS256" },
];
const headers = fc.record(
  {
    alg: fc.constantFrom<Json>(...algorithms),
    typ: fc.constantFrom<Json>("JWT", "jwt", "at+jwt", null, 1),
    kid: fc.constantFrom<Json>("../../dev/null", "' or 1=1 --", { a: 1 }, ""),
    jku: fc.constant("https://evil.test/jwks.json"),
    jwk: fc.constant(rsa.publicKey.export({ format: "jwk" })),
    x5u: fc.constant("https://evil.test/cert"),
    crit: fc.constantFrom<Json>(["exp"], ["b64"], ["nexus"], [], "exp", null),
    b64: fc.constantFrom<Json>(true, false, "x"),
    zip: fc.constant("DEF"),
    enc: fc.constant("A256GCM"),
    cty: fc.constant("JWT"),
  },
  { requiredKeys: ["alg"] },
);

const instants = (): fc.Arbitrary<Json> =>
  fc.oneof(
    fc.integer({ min: -3, max: 10_000_000 }).map((n) => now() + n + 3),
    fc.constantFrom<Json>(
      0,
      -1,
      1,
      1e300,
      -1e300,
      "9999999999",
      "",
      null,
      true,
      [9_999_999_999],
      {},
      Number.MAX_SAFE_INTEGER,
      0.5,
    ),
    fc.constant(null).map(() => now() - 1),
    fc.constant(null).map(() => now() + 3600.5),
  );

const claimsOf = ({ user, tienda, foreign }: Target) =>
  fc.record(
    {
      sub: fc.oneof(
        { weight: 6, arbitrary: fc.constant<Json>(user) },
        {
          weight: 4,
          arbitrary: fc.constantFrom<Json>(
            user.toUpperCase(),
            tienda,
            foreign[0],
            randomUUID(),
            "",
            "admin",
            7,
            null,
            [user],
            { id: user },
            `${user} `,
            ` ${user}`,
            `${user}\u0000`,
            `{${user}}`,
            user.replaceAll("-", ""),
            `${user}' or '1'='1`,
            "00000000-0000-0000-0000-000000000000",
            "x".repeat(5000),
          ),
        },
      ),
      exp: instants(),
      nbf: instants(),
      iat: instants(),
      aud: fc.constantFrom<Json>("otra", ["otra"], 7),
      iss: fc.constantFrom<Json>("otro", 7),
      tienda_id: fc.constant(foreign[0]),
      rol: fc.constant("admin"),
      jti: fc.string(),
    },
    { requiredKeys: ["sub"] },
  );

const spoilings: ((token: string) => string)[] = [
  (token) => `${token}.`,
  (token) => `.${token}`,
  (token) => token.slice(0, -1),
  (token) => token.slice(token.indexOf(".")),
  (token) => `${token}.e30.e30`,
  (token) => token.replace(".", ".."),
  (token) => token.toLowerCase(),
  (token) => [...token].reverse().join(""),
  (token) => Buffer.from(token).toString("base64"),
  (token) => `${token},${token}`,
  (token) => `"${token}"`,
  (token) => token.repeat(30).slice(0, 12_000),
];
const untouched = (token: string) => token;
/** Other letters for the same bytes, which jose reads as well. */
const respelt = [
  (token: string) => `${token}=`,
  (token: string) => token.replaceAll("-", "+").replaceAll("_", "/"),
];

const tokens = (target: Target): fc.Arbitrary<Token> =>
  fc.record({
    header: fc.oneof(
      {
        weight: 8,
        arbitrary: fc.constantFrom<Json>({ alg: "HS256", typ: "JWT" }, { alg: "HS256" }),
      },
      { weight: 9, arbitrary: headers as fc.Arbitrary<Json> },
      fc.jsonValue(),
    ),
    claims: fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record<Record<string, Json>>({
          sub: fc.constant(target.user),
          exp: fc.integer({ min: -3, max: 9_000_000 }).map((n) => now() + n),
        }),
      },
      { weight: 9, arbitrary: claimsOf(target) as fc.Arbitrary<Json> },
      fc.jsonValue(),
    ),
    signer: fc.oneof(
      { weight: 6, arbitrary: fc.constant(good) },
      { weight: 4, arbitrary: fc.constantFrom(...signers) },
    ),
    spoil: fc.oneof(
      { weight: 6, arbitrary: fc.constant(untouched) },
      { weight: 2, arbitrary: fc.constantFrom(...spoilings) },
      { weight: 1, arbitrary: fc.constantFrom(...respelt) },
    ),
  });

/** Signed as their header says, with what an attacker may have, and nothing else wrong. */
const forgeries = (target: Target): fc.Arbitrary<Token> =>
  fc
    .constantFrom<[string, Signer | undefined]>(
      ["HS512", signers[0]],
      ["HS384", signers[1]],
      ["HS256", signers[2]],
      ["HS256", signers[3]],
      ["HS256", signers[4]],
      ["none", signers[5]],
      ["RS256", signers[6]],
      ["ES256", signers[7]],
      ["HS256", signers[8]],
      ["HS256", good],
    )
    .map(([alg, signer = good]) => ({
      header: { alg, typ: "JWT" },
      claims: { sub: target.user, exp: now() + 3600 },
      signer,
      spoil: untouched,
    }));

/** What the POS could have signed for an active user, judged without the library that we use. */
function isGood(target: Target, { header, claims, signer, spoil }: Token, at: number): boolean {
  if (signer !== good || ![untouched, ...respelt].includes(spoil)) return false;
  const { alg, crit, b64 } = (header ?? {}) as Record<string, unknown>;
  const { sub, exp, nbf, iat } = (claims ?? {}) as Record<string, unknown>;
  const users = [target.user, target.user.toUpperCase()];
  return (
    alg === "HS256" &&
    (crit === undefined || (isDeepStrictEqual(crit, ["b64"]) && b64 === true)) &&
    users.includes(sub as string) &&
    typeof exp === "number" &&
    exp > at &&
    exp < 32_503_680_000 &&
    // Six: our own leeway of five seconds, and one that the test takes.
    [nbf, iat].every(
      (begin) => begin === undefined || (typeof begin === "number" && begin <= at + 6),
    )
  );
}

/** Tokens with every part of them wrong in every way that is known to have worked somewhere. */
export async function fuzzTokens(target: Target, runs: number, seed: number): Promise<void> {
  const body = JSON.stringify({ query: "{ tienda { id } }" });
  const any = fc.oneof(
    { weight: 9, arbitrary: tokens(target) },
    { weight: 1, arbitrary: forgeries(target) },
  );
  await fuzz(any, runs, seed, async (token) => {
    const signed = `${encode(JSON.stringify(token.header))}.${encode(JSON.stringify(token.claims))}`;
    const text = token.spoil(`${signed}.${token.signer.sign(signed)}`);
    const before = now();
    const answer = await target.post("tokens", body, { authorization: `Bearer ${text}` });
    const shown = JSON.stringify([token.header, token.claims, token.signer.name, answer]);
    if (answer.data) {
      assert.ok(isGood(target, token, before - 1), `accepted: ${shown}`);
      // The store is that of the user, whatever else the token says.
      assert.deepEqual(answer.data, { tienda: { id: target.tienda } }, shown);
    } else {
      assert.equal(answer.status, 401, shown);
      const plain = Object.keys(token.header ?? {}).every((key) =>
        ["alg", "typ", "kid", "jku", "jwk"].includes(key),
      );
      const few = Object.keys(token.claims ?? {}).every((key) =>
        ["sub", "exp", "rol"].includes(key),
      );
      assert.ok(
        !(token.spoil === untouched && plain && few && isGood(target, token, before + 2)),
        `refused: ${shown}`,
      );
    }
  });
}
