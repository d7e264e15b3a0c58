import { readFile, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Pool } from "pg";
import { signToken } from "../../src/graphql/token.ts";
import {
  type Genes,
  lists,
  mayFit,
  modest,
  mutate,
  starts,
  writeBody,
} from "./answers/documents.ts";
import { withBenchDatabase } from "./database.ts";
import { numberOption, printTable } from "./figures.ts";
import { type Engine, startEngine } from "./memory/engine.ts";
import { openShop } from "./shops.ts";

/**
 * Searches the documents of at most 100 kB with the largest answers, and with the most memory that one
 * takes: from each list, by changing what is in them while that makes it worse. Names of products are
 * as long as the POS allows. Memory is the process's peak above what it had after a full collection,
 * as Linux counts it.
 * Run it with: npx node test/bench/answers.ts [--tries 60] [--seed 1]
 */

const { values: options } = parseArgs({
  options: {
    tries: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
  },
});
const tries = numberOption("tries", options.tries, 0);
const maxBody = 100_000;

type Found = {
  genes: Genes;
  status: number;
  code: string;
  bytes: number;
  growth: number;
  ms: number;
};

async function bench(url: string): Promise<void> {
  const pos = new Pool({ connectionString: url });
  let engine: Engine | undefined;
  try {
    const shop = await openShop(pos, 150);
    await pos.query(
      `update public.productos set nombre = rpad(nombre, 255, 'ñandú'), sku = rpad(sku, 100, 'x'), stock_actual = 1`,
    );
    await pos.query(
      `insert into public.insights (id, tipo, mensaje, nivel_urgencia, is_active, extra_data, tienda_id)
       select gen_random_uuid(), 'STOCK_BAJO', 'Te quedan 1 de ' || p.nombre, 'CRITICA', true,
         jsonb_build_object('producto_id', p.id, 'producto_nombre', p.nombre, 'n', n), p.tienda_id
       from public.productos p, generate_series(1, 10) n`,
    );
    await pos.query(
      `with sold as (
         insert into public.ventas (id, fecha, total, metodo_pago, status_pago, tienda_id)
         values (gen_random_uuid(), now() - interval '1 hour', 15000, 'efectivo', 'pagado', $1) returning id
       )
       insert into public.detalles_venta (id, cantidad, precio_unitario, subtotal, venta_id, producto_id)
       select gen_random_uuid(), 1, 100, 100, sold.id, p.id from sold, public.productos p`,
      [shop.id],
    );
    await pos.query("vacuum analyze");
    engine = await startEngine(url);
    const key = new TextEncoder().encode(engine.secretKey);
    const authorization = `Bearer ${await signToken(shop.user, key, 36_000)}`;
    const ask = (genes: Genes) => measure(engine as Engine, authorization, genes);
    // What a process has once and for all: compiled code, connections, its first heap.
    for (const list of Object.keys(lists) as Genes["list"][]) {
      for (let n = 0; n < 10; n += 1) await ask({ ...modest, list, first: 90 + n });
    }
    const rows = [];
    for (const start of starts) {
      const first = await ask(start);
      for (const worst of ["bytes", "growth"] as const) {
        rows.push(await search(first, worst, ask));
        if (tries === 0) break;
      }
    }
    printTable(
      "The worst documents of 100 kB",
      ["document", "answered", "MB", "MB of memory", "ms"],
      rows.map(({ genes, status, code, bytes, growth, ms }) => [
        JSON.stringify(genes).replaceAll('"', ""),
        `${status} ${code}`,
        (bytes / 1e6).toFixed(2),
        (growth / 1e6).toFixed(0),
        ms.toFixed(0),
      ]),
    );
  } finally {
    await engine?.stop();
    await pos.end();
  }
}

/** Climbs from a document to one that is worse, until nothing that is tried is. */
async function search(
  from: Found,
  worst: "bytes" | "growth",
  ask: (genes: Genes) => Promise<Found>,
): Promise<Found> {
  const random = seeded(numberOption("seed", options.seed, 0));
  let found = from;
  for (let n = 0; n < tries; n += 1) {
    const genes = { ...mutate(found.genes, random), list: from.genes.list };
    if (!mayFit(genes) || Buffer.byteLength(writeBody(genes)) > maxBody) continue;
    const next = await ask(genes);
    if (next[worst] > found[worst]) found = next;
  }
  return found;
}

async function measure(engine: Engine, authorization: string, genes: Genes): Promise<Found> {
  await engine.ask({ ask: "collect" });
  const { rss } = await engine.ask({ ask: "usage" });
  // The peak from now on.
  await writeFile(`/proc/${engine.pid}/clear_refs`, "5");
  const since = performance.now();
  const response = await fetch(engine.api, {
    method: "POST",
    headers: { "content-type": "application/json", authorization },
    body: writeBody(genes),
  });
  let bytes = 0;
  let start = "";
  for await (const chunk of response.body ?? []) {
    if (bytes < 2_000) start += Buffer.from(chunk).toString();
    bytes += chunk.length;
  }
  const ms = performance.now() - since;
  await sleep(20);
  const status = await readFile(`/proc/${engine.pid}/status`, "utf8");
  const peak = Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  const code = /"code":"(\w+)"/.exec(start)?.[1] ?? "";
  return { genes, status: response.status, code, bytes, growth: peak - rss, ms };
}

/** Mulberry32: the same search for the same seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

await withBenchDatabase("answers", bench);
