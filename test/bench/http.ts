import { Agent, request } from "node:http";
import { milliseconds, printTable, quantile } from "./figures.ts";

export type HttpFigures = {
  perSecond: number;
  p50: number;
  p99: number;
  /** Size of one answer. */
  bytes: number;
};

/** What a list shows, and the same with the numbers of each message, as the POS's endpoint answers. */
const queries = {
  list: "{ insights(first: 50) { nodes { id tipo mensaje nivelUrgencia createdAt } } }",
  extraData:
    "{ insights(first: 50) { nodes { id tipo mensaje nivelUrgencia isActive createdAt extraData } } }",
};

/**
 * insights(first: 50) over HTTP, each of the connections asking again as soon as it is answered.
 * Throws on the first answer that is not 200 with 50 insights.
 */
export async function measureHttp(
  graphqlUrl: string,
  token: string,
  query: string,
  { connections = 10, seconds = 8 } = {},
): Promise<HttpFigures> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const body = JSON.stringify({ query });
  const ask = (): Promise<Buffer> => {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const headers = {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
      authorization: `Bearer ${token}`,
    };
    const asked = request(graphqlUrl, { method: "POST", agent, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const answer = Buffer.concat(chunks);
        if (response.statusCode === 200) resolve(answer);
        else reject(new Error(`HTTP ${response.statusCode}: ${answer}`));
      });
    });
    asked.on("error", reject);
    asked.end(body);
    return promise;
  };
  const work = async (until: number, durations: number[]) => {
    while (performance.now() < until) {
      const since = performance.now();
      await ask();
      durations.push(performance.now() - since);
    }
  };
  const run = async (ms: number) => {
    const durations: number[] = [];
    const until = performance.now() + ms;
    await Promise.all(Array.from({ length: connections }, () => work(until, durations)));
    return durations;
  };

  try {
    const first = await ask();
    const nodes = JSON.parse(first.toString()).data?.insights?.nodes;
    if (nodes?.length !== 50) throw new Error(`expected 50 insights, got ${first}`);
    await run(2_000);
    const durations = await run(seconds * 1000);
    return {
      perSecond: durations.length / seconds,
      p50: quantile(durations, 0.5),
      p99: quantile(durations, 0.99),
      bytes: first.length,
    };
  } finally {
    agent.destroy();
  }
}

export function printHttp(figures: Record<keyof typeof queries, HttpFigures>): void {
  printTable(
    "insights(first: 50) over HTTP, 10 connections",
    ["", "requests/s", "p50", "p99", "bytes", "reach"],
    Object.entries(figures).map(([name, figure]) => [
      name === "list" ? "what a list shows" : "with extraData",
      figure.perSecond.toFixed(0),
      milliseconds(figure.p50),
      milliseconds(figure.p99),
      figure.bytes,
      name === "list" ? "600/s" : "",
    ]),
  );
}

// A process of its own, so that it does not share the server's thread:
// node test/bench/http.ts URL TOKEN, with the figures as JSON on standard output.
if (import.meta.main) {
  const [url, token] = process.argv.slice(2);
  if (!url || !token) throw new Error("expected: node test/bench/http.ts URL TOKEN");
  const list = await measureHttp(url, token, queries.list);
  const extraData = await measureHttp(url, token, queries.extraData);
  console.log(JSON.stringify({ list, extraData }));
}
