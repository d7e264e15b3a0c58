import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { httpStatusByCode } from "../../src/errors.ts";
import { signToken } from "../../src/graphql/token.ts";
import { createLog } from "../../src/log.ts";
import { type Api, secretKey, startApi } from "../graphql/api.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, addUser, reconcile } from "../support/fixtures.ts";

/** Stands in every text of the store that is not the attacker's. */
const canary = "CANARIO-9d1f";
/** What no client may see: of the database, of the code, of the machine. */
const internals =
  /nexus_(engine|api|server|tienda|owner)|pg_catalog|graphile_worker|\bselect\b.*\bfrom\b|node_modules|\.[jt]s:\d+|\n\s+at |\/src\/|sql(state|function)|syntax for type|violates/i;

type GraphQLAnswer = { data?: unknown; errors?: { extensions?: { code?: string } }[] };

export type Target = {
  api: Api;
  db: TestDatabase;
  /** The attacker's store, and a user of it. */
  tienda: string;
  user: string;
  /** Ids of the other store. */
  foreign: string[];
  authorization: string;
  /** Counts an answer by area and code; fails when it shows what it should not, or has no code. */
  judge(area: string, input: unknown, answer: { status?: number; text: string }): GraphQLAnswer;
  count(area: string, outcome: string): void;
  counts: Map<string, number>;
  /** Posts bytes and judges what comes back. */
  post(
    area: string,
    body: string | Uint8Array,
    headers?: Record<string, string>,
  ): Promise<GraphQLAnswer & { status: number; code: string | undefined }>;
  /** Fails unless a good question still has the answer that it had at first, and nothing was logged as our fault. */
  probe(): Promise<void>;
  close(): Promise<void>;
};

const question = `{ tienda { id nombre } insightStats { total active } storeSettings { timeZone countedPendingMethods }
  insights(first: 5) { totalCount nodes { id mensaje } } productos(first: 5) { nodes { nombre stockActual } } }`;

/** The real server with an attacker's store and another one full of canaries. */
export async function openTarget(): Promise<Target> {
  const db = await createTestDatabase();
  const faults: string[] = [];
  const log = createLog("error", { write: (line) => void faults.push(line) });
  const api = await startApi(db, { log, mutationLimits: { user: 1_000_000, store: 1_000_000 } });
  const attacker = await addCanaries(db, "mío");
  const victim = await addCanaries(db, canary);
  const { rows } = await db.pool.query<{ id: string }>(
    "select id from public.productos where tienda_id = $1 union all select id from public.insights where tienda_id = $1",
    [victim.tienda],
  );
  const foreign = [victim.tienda, victim.user, ...rows.map(({ id }) => id)];
  const authorization = `Bearer ${await signToken(attacker.user, secretKey, 3600)}`;
  const first = await api.ask(victim.user, question);
  assert.deepEqual(first.errors, []);
  const counts = new Map<string, number>();

  const target: Target = {
    api,
    db,
    ...attacker,
    foreign,
    authorization,
    counts,
    count(area, outcome) {
      const key = `${area}: ${outcome}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    },
    judge(area, input, { status, text }) {
      const given = typeof input === "string" ? input : JSON.stringify(input);
      const about = () => `${area}: ${given.slice(0, 1000)}\n=> ${status} ${text.slice(0, 1000)}`;
      assert.ok(!text.includes(canary), `another store's text in ${about()}`);
      for (const id of foreign) {
        assert.ok(!text.includes(id) || given.includes(id), `another store's id in ${about()}`);
      }
      const shown = internals.exec(text)?.[0];
      assert.ok(!shown || given.includes(shown), `internals (${shown}) in ${about()}`);
      const answer = JSON.parse(text) as GraphQLAnswer;
      const codes = (answer.errors ?? []).map(({ extensions }) => extensions?.code);
      for (const code of codes) {
        assert.ok(code && code in httpStatusByCode && code !== "INTERNAL", `${code} in ${about()}`);
      }
      assert.ok(codes.length > 0 || answer.data, `neither data nor a code in ${about()}`);
      target.count(area, [...new Set(codes)].sort().join(" ") || "data");
      return answer;
    },
    async post(area, body, headers = {}) {
      const response = await fetch(`${api.url}/graphql`, {
        method: "POST",
        headers: { authorization, "content-type": "application/json", ...headers },
        body: body as string,
      });
      const { status } = response;
      const input = typeof body === "string" ? body : Buffer.from(body).toString("latin1");
      const answer = target.judge(area, input, { status, text: await response.text() });
      assert.ok(response.headers.get("x-request-id"));
      return { ...answer, status, code: answer.errors?.[0]?.extensions?.code };
    },
    async probe() {
      const { data, errors } = await api.ask(victim.user, question);
      assert.deepEqual({ data, errors }, { data: first.data, errors: [] });
      const found = faults.splice(0).map((line) => line.slice(0, 300));
      assert.equal(found.length, 0, found.slice(0, 3).join("\n"));
    },
    async close() {
      await api.close();
      await db.drop();
    },
  };
  return target;
}

async function addCanaries({ pool }: TestDatabase, mark: string) {
  const tienda = await addStore(pool, {
    nombre: `${mark} tienda`,
    settings: { counted_pending_methods: [`${mark} efectivo`] },
  });
  const user = await addUser(pool, tienda, { email: `${mark}-${randomUUID()}@example.com` });
  for (const n of [0, 1, 2]) {
    const productoId = await addProduct(pool, tienda, {
      nombre: `${mark} ${n}`,
      sku: `${mark}-${n}`,
      stock: n,
    });
    await addSale(pool, tienda, {
      fecha: new Date(Date.now() - 26 * 3_600_000 * n - 60_000),
      lines: [{ productoId, cantidad: 1, precio: 10 }],
      metodoPago: `${mark} efectivo`,
    });
  }
  await reconcile(pool, [tienda], new Date());
  return { tienda, user };
}

/** Runs a property with a seed that a failure names; `runs` inputs. */
export async function fuzz<T>(
  arbitrary: fc.Arbitrary<T>,
  runs: number,
  seed: number,
  check: (input: T) => Promise<void>,
): Promise<void> {
  // Shrinking ends where it would take longer than reading.
  await fc.assert(fc.asyncProperty(arbitrary, check), {
    numRuns: runs,
    seed,
    interruptAfterTimeLimit: 540_000,
    markInterruptAsFailure: true,
    endOnFailure: false,
  });
}
