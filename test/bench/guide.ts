import { randomUUID } from "node:crypto";
import type { PoolClient } from "pg";
import { asOf } from "./dataset.ts";
import { milliseconds, printTable, timed, times } from "./figures.ts";
import { type Bench, empty, type RefreshFigures, reconcileAll, settle } from "./refresh.ts";

type Product = { id: string; nombre: string; sku: string; stock_actual: number };

const rules = [
  { tipo: "STOCK_BAJO", where: "stock_actual > 0 and stock_actual <= 10" },
  { tipo: "PRODUCTO_SIN_STOCK", where: "stock_actual <= 0" },
];

/** So that neither half takes more than half a minute on a slow machine. */
const budgetMs = 30_000;

/**
 * What the insight service of the POS's own guide does for one store: reads the products that are
 * low, asks for each whether it has been told in the last 24 hours, inserts where it has not.
 * Its SQL only: the objects of its ORM, which cost more, are left out.
 */
async function guideService(client: PoolClient, store: string): Promise<void> {
  await client.query("begin");
  for (const { tipo, where } of rules) {
    const { rows } = await client.query<Product>(
      `select id, nombre, sku, stock_actual from public.productos
       where tienda_id = $1 and is_active and ${where}`,
      [store],
    );
    for (const product of rows) {
      const told = await client.query(
        `select id from public.insights
         where tienda_id = $1 and tipo = $2 and is_active
           and created_at >= $3::timestamptz - interval '24 hours'
           and extra_data ->> 'producto_id' = $4
         limit 1`,
        [store, tipo, asOf, product.id],
      );
      if (told.rowCount) continue;
      await client.query(
        `insert into public.insights (id, tienda_id, tipo, mensaje, nivel_urgencia, is_active, extra_data, created_at)
         values ($1, $2, $3, $4, 'ALTA', true, $5, $6)`,
        [
          randomUUID(),
          store,
          tipo,
          `El producto ${product.nombre} (SKU: ${product.sku}) tiene stock bajo: ${product.stock_actual}`,
          {
            producto_id: product.id,
            producto_nombre: product.nombre,
            producto_sku: product.sku,
            stock_actual: product.stock_actual,
            umbral: 10,
          },
          asOf,
        ],
      );
    }
  }
  await client.query("commit");
}

/** Milliseconds a store, and how many stores the time was enough for. */
async function run({ worker, stores }: Bench): Promise<{ perStore: number; done: number }> {
  const client = await worker.connect();
  try {
    let done = 0;
    let spent = 0;
    for (const store of stores) {
      spent += await timed(() => guideService(client, store));
      done += 1;
      if (spent > budgetMs) break;
    }
    return { perStore: spent / done, done };
  } finally {
    client.release();
  }
}

/** The guide's loop against the reconciler, which does the summaries of sales as well. */
export async function benchGuide(bench: Bench, ours: RefreshFigures): Promise<void> {
  await empty(bench);
  const fromEmpty = await run(bench);
  await empty(bench);
  await reconcileAll(bench, bench.stores.length);
  await settle(bench);
  const steady = await run(bench);
  const row = (title: string, guide: Awaited<ReturnType<typeof run>>, full: number) => {
    const own = full / bench.stores.length;
    return [
      title,
      milliseconds(guide.perStore),
      milliseconds(own),
      times(guide.perStore / own),
      `${guide.done} of ${bench.stores.length}`,
    ];
  };
  printTable(
    `(g) One existence query a low product, a store; stopped after ${budgetMs / 1000} s`,
    ["", "the guide's loop", "reconcile", "ratio", "stores measured"],
    [row("from empty", fromEmpty, ours.fromEmpty), row("nothing changed", steady, ours.steady)],
  );
}
