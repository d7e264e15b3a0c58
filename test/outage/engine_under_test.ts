import { readConfig } from "../../src/config.ts";
import { type Engine, type Halves, startEngine } from "../../src/engine.ts";
import { signToken } from "../../src/graphql/token.ts";

const secret = "una-clave-de-prueba-con-mas-de-32-bytes";

// biome-ignore lint/suspicious/noExplicitAny: the tests know what they asked for
type Answer = { status: number; code: string; data: any };

export type EngineUnderTest = {
  engine: Engine;
  url: string;
  /** HTTP status of /health/ready. */
  ready(): Promise<number>;
  /** What a query of this user is answered with: "ok", or the code of its error. */
  ask(userId: string): Promise<string>;
  graphql(userId: string, query: string): Promise<Answer>;
};

/** As npm start runs it, or one half of it, in this process. */
export async function startEngineUnderTest(
  databaseUrl: string,
  environment: Record<string, string> = {},
  halves: Halves = { worker: true, server: true },
): Promise<EngineUnderTest> {
  const config = readConfig({
    DATABASE_URL: databaseUrl,
    SECRET_KEY: secret,
    PORT: "0",
    LOG_LEVEL: process.env.OUTAGE_LOG ?? "silent",
    ...environment,
  });
  const engine = await startEngine(config, halves, { createPosSchema: true });
  const url = engine.url as string;
  const graphql = async (userId: string, query: string): Promise<Answer> => {
    const token = await signToken(userId, new TextEncoder().encode(secret), 600);
    const response = await fetch(`${url}/graphql`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
      body: JSON.stringify({ query }),
    });
    const { data = null, errors } = (await response.json()) as Partial<Answer> & {
      errors?: { extensions: { code: string } }[];
    };
    return { status: response.status, data, code: errors?.[0]?.extensions.code ?? "ok" };
  };
  return {
    engine,
    url,
    ready: async () => (await fetch(`${url}/health/ready`)).status,
    ask: async (userId) => (await graphql(userId, "{ insights(first: 5) { nodes { id } } }")).code,
    graphql,
  };
}
