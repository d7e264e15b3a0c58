import assert from "node:assert/strict";
import fc from "fast-check";
import { WebSocket } from "ws";
import { wsUrl } from "../graphql/subscriber.ts";
import { fuzz, type Target } from "./target.ts";
import { anything, texts } from "./values.ts";

const subscription = "subscription { insightChanged { refetch } }";
const quietMs = 40;

type Frame = string | Buffer;

const queries = [
  "{ tienda { id } }",
  "mutation { clearInsights { deleted } }",
  "subscription { nada }",
  "{",
  "",
  `subscription { ${"a{".repeat(9000)}`,
  `subscription { insightChanged { ${"refetch ".repeat(3000)} } }`,
  "subscription { insightChanged { changes { insight { producto { insights(first: 100) { nodes { id } } } } } } }",
  "subscription ($b: Boolean!) { insightChanged @skip(if: $b) { refetch } }",
  "subscription { insightChanged { refetch @stream @defer @include } }",
  'subscription { refreshRequestChanged(id: "x") { id } }',
  'subscription { refreshRequestChanged(id: "00000000-0000-0000-0000-000000000000") { id } }',
  "subscription { a: insightChanged { refetch } b: insightChanged { refetch } }",
];

const messages = (authorization: string): fc.Arbitrary<Frame> => {
  const init = fc.oneof(
    { weight: 4, arbitrary: fc.constant<unknown>({ authorization }) },
    {
      weight: 1,
      arbitrary: fc.constantFrom<unknown>(
        {},
        { authorization: "Bearer x" },
        { authorization: 7 },
        { authorization: [authorization] },
        { Authorization: authorization, __proto__: { a: 1 } },
      ),
    },
    { weight: 1, arbitrary: anything },
  );
  const payload = fc.oneof(
    { weight: 4, arbitrary: fc.constant<unknown>({ query: subscription }) },
    {
      weight: 3,
      arbitrary: fc.record<Record<string, unknown>>({
        query: fc.constantFrom<unknown>(...queries, 7, null),
        variables: anything,
        operationName: anything,
        extensions: anything,
      }),
    },
    { weight: 1, arbitrary: anything },
  );
  const id = fc.oneof(
    fc.constantFrom<unknown>("1", "2", "3", "", "x".repeat(500), "__proto__", 1, null),
    texts,
  );
  const subscribe = fc.record({ type: fc.constant("subscribe"), id, payload });
  const message = fc.oneof(
    { weight: 5, arbitrary: fc.record({ type: fc.constant("connection_init"), payload: init }) },
    { weight: 6, arbitrary: subscribe },
    { weight: 2, arbitrary: fc.record({ type: fc.constant("complete"), id }) },
    {
      weight: 1,
      arbitrary: fc.record({ type: fc.constantFrom("ping", "pong"), payload: anything }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        type: fc.constantFrom<unknown>(
          "next",
          "error",
          "connection_ack",
          "start",
          "stop",
          "connection_terminate",
          "",
          null,
          7,
        ),
        id,
        payload: anything,
      }),
    },
    { weight: 1, arbitrary: anything },
  );
  return fc.oneof(
    { weight: 12, arbitrary: message.map((value) => JSON.stringify(value) ?? "undefined") },
    { weight: 1, arbitrary: texts },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)) },
    {
      weight: 1,
      arbitrary: fc.constantFrom<Frame>(
        "x".repeat(64_001),
        "[".repeat(60_000),
        Buffer.alloc(70_000),
        `{"type":"ping","payload":${"[".repeat(20_000)}${"]".repeat(20_000)}}`,
      ),
    },
  );
};

/** What the protocol allows once a client is known: only what it asks for is wrong. */
const wellFormed: fc.Arbitrary<Frame> = fc
  .oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        type: fc.constant("subscribe"),
        id: fc.uuid(),
        payload: fc.record<Record<string, unknown>>(
          {
            query: fc.oneof(
              fc.constant(subscription),
              fc.constantFrom(...queries),
              texts.map((text) => `subscription { ${text} }`),
            ),
            variables: fc.dictionary(texts, anything, { maxKeys: 3 }),
            operationName: texts,
            extensions: fc.dictionary(texts, anything, { maxKeys: 3 }),
          },
          { requiredKeys: ["query"] },
        ),
      }),
    },
    { weight: 1, arbitrary: fc.record({ type: fc.constant("complete"), id: fc.uuid() }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constantFrom("ping", "pong") }) },
  )
  .map((value) => JSON.stringify(value));

/** Each of these is a reason of ours, of graphql-ws or of ws. */
const closeCodes = [
  1000, 1001, 1002, 1003, 1006, 1007, 1009, 1011, 4400, 4401, 4403, 4408, 4409, 4429,
];

/** Frames in every order: each socket is served or closed with a code; each error has a code. `runs` counts frames. */
export async function fuzzFrames(target: Target, runs: number, seed: number): Promise<void> {
  const perSocket = 6;
  const polite = fc.record({
    orderly: fc.constant(true),
    frames: fc.array(wellFormed, { minLength: perSocket, maxLength: perSocket }),
  });
  const rude = fc.record({
    orderly: fc.boolean(),
    frames: fc.array(messages(target.authorization), {
      minLength: perSocket,
      maxLength: perSocket,
    }),
  });
  await fuzz(
    fc.oneof(polite, rude),
    Math.ceil(runs / perSocket),
    seed,
    async ({ orderly, frames }) => {
      const socket = new WebSocket(wsUrl(target.api), "graphql-transport-ws");
      const closed = new Promise<number>((resolve) => socket.on("close", resolve));
      socket.on("error", () => {});
      let last = performance.now();
      const answers: string[] = [];
      socket.on("message", (data) => {
        last = performance.now();
        answers.push(String(data));
      });
      await new Promise((resolve) => socket.once("open", resolve));
      const hello = JSON.stringify({
        type: "connection_init",
        payload: { authorization: target.authorization },
      });
      if (orderly) {
        socket.send(hello);
        await Promise.race([closed, new Promise((resolve) => socket.once("message", resolve))]);
      }
      for (const frame of frames) {
        if (socket.readyState === socket.OPEN) socket.send(frame);
      }
      const quiet = async () => {
        last = performance.now();
        while (performance.now() - last < quietMs)
          await new Promise((resolve) => setTimeout(resolve, 5));
      };
      const code = await Promise.race([closed, quiet()]);
      if (code === undefined) socket.terminate();
      const given = frames.map(String).join("\n");
      if (code !== undefined) {
        assert.ok(closeCodes.includes(code), `closed with ${code} after ${given}`);
        assert.notEqual(code, 1011, `a fault of ours after ${given.slice(0, 2000)}`);
      }
      target.count("frames", code === undefined ? "served" : `closed ${code}`);
      for (const text of answers) {
        const { type, payload } = JSON.parse(text) as { type: string; payload?: unknown };
        const names = Object.keys((payload as { data?: object } | undefined)?.data ?? {});
        assert.ok(
          !names.some((name) => name !== "insightChanged" && name !== "refreshRequestChanged"),
          text,
        );
        if (type === "next") target.judge("frames", given, { text: JSON.stringify(payload) });
        if (type === "error")
          target.judge("frames", given, { text: JSON.stringify({ errors: payload }) });
      }
      await closed;
    },
  );
}
