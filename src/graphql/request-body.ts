import { SafeError } from "postgraphile/grafast";
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
        requestDigest.getBody = async () => {
          const type = headers["content-type"]?.split(";", 1)[0]?.trim().toLowerCase();
          if (type !== "application/json") {
            throw apiError("BAD_USER_INPUT", "Expected a body of type application/json.", 415);
          }
          const body = await Promise.resolve(getBody()).catch((cause: unknown) => {
            if (isTooLarge(cause)) {
              throw apiError("BAD_USER_INPUT", `Expected at most ${maxBodyBytes} bytes.`, 413);
            }
            throw cause;
          });
          if (body.type !== "buffer") return body;
          const json = parse(body.buffer.toString("utf8"));
          if (typeof json?.query === "string") return { type: "json", json };
          throw apiError("BAD_USER_INPUT", "Expected a JSON object with a query in it.");
        };
        return next();
      },
    },
  },
};

// biome-ignore lint/suspicious/noExplicitAny: anything may come in
function parse(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const isTooLarge = (error: unknown) =>
  error instanceof SafeError && error.extensions?.["statusCode"] === 413;
