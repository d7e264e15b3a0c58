import { SafeError } from "postgraphile/grafast";
import { graphqlError } from "../answers.ts";
import { apiError } from "./errors.ts";

export const maxBodyBytes = 100_000;

/** Takes JSON only, and says with a code what is wrong with a body. */
export const RequestBodyPlugin: GraphileConfig.Plugin = {
  name: "RequestBodyPlugin",
  version: "1.0.0",
  grafserv: {
    middleware: {
      processRequest(next, { requestDigest }) {
        const { getBody, headers } = requestDigest;
        const accept = accepted(headers["accept"]);
        if (!accept) return notAcceptable();
        headers["accept"] = accept;
        // No page can send this type to another origin without asking first.
        const isJson = /^application\/json *(;|$)/i.test(headers["content-type"] ?? "");
        // Grafserv knows it in lower case only.
        if (isJson) headers["content-type"] = "application/json";
        requestDigest.getBody = async () => {
          if (!isJson) {
            throw apiError("BAD_USER_INPUT", "Expected a body of type application/json.", 415);
          }
          // Nothing is unpacked: what is small here would be large there.
          if ((headers["content-encoding"] ?? "identity") !== "identity") {
            throw apiError("BAD_USER_INPUT", "Expected a body that is not compressed.", 415);
          }
          if (Number(headers["content-length"]) > maxBodyBytes) throw tooLarge();
          const body = await Promise.resolve(getBody()).catch((cause: unknown) => {
            throw isTooLarge(cause) ? tooLarge() : cause;
          });
          if (body.type !== "buffer") return body;
          const json = parse(body.buffer);
          if (typeof json?.query === "string") return { type: "json", json };
          throw apiError("BAD_USER_INPUT", "Expected a JSON object with a query in it, in UTF-8.");
        };
        return next();
      },

      processGraphQLRequestBody(next, { body }) {
        const problem = shapeProblem(body);
        if (problem) throw apiError("BAD_USER_INPUT", `Expected ${problem}.`);
        return next();
      },
    },
  },
};

/** Which of grafserv's two types of answer; its own reader gives up on what is no list of types. */
function accepted(header = "*/*"): string | undefined {
  const types = header
    .toLowerCase()
    .split(",")
    .map((type) => type.split(";", 1)[0]?.trim());
  if (types.includes("application/json") && !types.includes("application/graphql-response+json")) {
    return "application/json";
  }
  const any = ["*/*", "application/*", "application/graphql-response+json"];
  return any.some((type) => types.includes(type)) ? "application/graphql-response+json" : undefined;
}

function notAcceptable() {
  const refusal = graphqlError("BAD_USER_INPUT", "Expected application/json to be accepted.");
  const buffer = Buffer.from(JSON.stringify(refusal));
  const headers = {
    "content-type": "application/json; charset=utf-8",
    "content-length": String(buffer.length),
  };
  return { type: "buffer" as const, statusCode: 406, headers, buffer };
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

// biome-ignore lint/suspicious/noExplicitAny: anything may come in
function parse(bytes: Uint8Array): any {
  try {
    const text = utf8.decode(bytes);
    // Half a surrogate pair, which JSON can write and UTF-8 cannot.
    return /\\ud[89a-f]/i.test(text) ? JSON.parse(text, wellFormed) : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function wellFormed(key: string, value: unknown): unknown {
  if (key.isWellFormed() && (typeof value !== "string" || value.isWellFormed())) return value;
  throw new TypeError("half a character");
}

/** What grafserv would refuse without a code. */
function shapeProblem(body: {
  operationName?: unknown;
  variableValues?: unknown;
  onError?: unknown;
  extensions?: unknown;
}): string | undefined {
  if (body.operationName !== undefined && typeof body.operationName !== "string") {
    return "operationName to be text";
  }
  if (!isObjectOrAbsent(body.variableValues)) return "variables to be an object";
  if (!isObjectOrAbsent(body.extensions)) return "extensions to be an object";
  if (body.onError !== undefined) return "no onError";
  return undefined;
}

const isObjectOrAbsent = (value: unknown) =>
  value === undefined || (typeof value === "object" && value !== null && !Array.isArray(value));

const tooLarge = () => apiError("BAD_USER_INPUT", `Expected at most ${maxBodyBytes} bytes.`, 413);
const isTooLarge = (error: unknown) =>
  error instanceof SafeError && error.extensions?.["statusCode"] === 413;
