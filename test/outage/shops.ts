import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, Pool, type PoolConfig } from "pg";
import { isAway } from "../../src/database/away.ts";
import { connect, DatabaseClient } from "../../src/database/client.ts";
import { addProduct, addStore, addUser } from "../support/fixtures.ts";
import { until } from "../support/until.ts";

/** A pool that finds the primary and loses connections as the engine's own do. */
export function ownerPool(connectionString: string): Pool {
  const pool = new Pool({
    connectionString,
    max: 4,
    connectionTimeoutMillis: 5_000,
    Client: DatabaseClient,
  } as unknown as PoolConfig);
  pool.on("error", () => {});
  return pool;
}

export type Shops = { stores: string[]; products: string[]; user: string };

export async function openShops(pool: Pool, count: number): Promise<Shops> {
  const stores: string[] = [];
  const products: string[] = [];
  for (let n = 0; n < count; n += 1) {
    const store = await addStore(pool, { nombre: `Sucursal ${n}` });
    stores.push(store);
    for (let p = 0; p < 5; p += 1) products.push(await addProduct(pool, store, { stock: 40 }));
  }
  await pool.query(
    "create table public.prueba (id serial primary key, producto_id uuid, stock int)",
  );
  return { stores, products, user: await addUser(pool, stores[0] as string) };
}

export type Sales = {
  /** Committed, known to be not committed, and those of which only the database knows. */
  counts: { committed: number; refused: number; unknown: number };
  stop(): Promise<void>;
};

/**
 * Sells without a pause, whether the database is there or not: each sale moves a stock, writes itself
 * down, and enqueues a refresh of its store, in one transaction.
 */
export function sell(connectionString: string, { products }: Shops): Sales {
  const counts = { committed: 0, refused: 0, unknown: 0 };
  let stopping = false;
  const ended = (async () => {
    let client: Client | undefined;
    while (!stopping) {
      let committing = false;
      try {
        client ??= await connect(connectionString, "sales");
        await client.query("begin");
        await client.query(
          `with sold as (
             update public.productos set stock_actual = floor(random() * 45)
             where id = $1 returning id, tienda_id, stock_actual
           ), noted as (
             insert into public.prueba (producto_id, stock) select id, stock_actual from sold
           )
           select graphile_worker.add_job('refresh_stores', json_build_object('tiendas', array[tienda_id])) from sold`,
          [products[Math.floor(Math.random() * products.length)]],
        );
        committing = true;
        await client.query("commit");
        counts.committed += 1;
      } catch (error) {
        if (!isAway(error)) throw error;
        if (committing) counts.unknown += 1;
        else counts.refused += 1;
        client?.end().catch(() => {});
        client = undefined;
        await sleep(20);
      }
      await sleep(6);
    }
    await client?.end();
  })();
  return {
    counts,
    stop() {
      stopping = true;
      return ended;
    },
  };
}

/** Waits until all jobs are done, then compares what was done with what had to be. */
export async function assertExact(
  pool: Pool,
  sales: Sales["counts"],
  withinMs = 15_000,
): Promise<void> {
  const left = async () => {
    const { rows } = await pool.query(
      `select id, attempts, run_at - now() as due_in, locked_by, now() - locked_at as locked_for, last_error
       from graphile_worker._private_jobs
       union all select id, 0, null, 'outbox', now() - at, null from nexus_engine.stock_event
       order by 1 limit 5`,
    );
    return rows;
  };
  await until("no job is left", async () => (await left()).length === 0, withinMs).catch(
    async (cause: unknown) => {
      throw new Error(`left: ${JSON.stringify(await left())}`, { cause });
    },
  );
  const { rows: noted } = await pool.query("select count(*)::int as sales from public.prueba");
  assert.ok(
    noted[0].sales >= sales.committed && noted[0].sales <= sales.committed + sales.unknown,
    `${noted[0].sales} sales of ${JSON.stringify(sales)}`,
  );
  const { rows: wrong } = await pool.query(
    `select coalesce(p.id::text, i.extra_data ->> 'producto_id') as producto, p.stock_actual, i.tipo
     from (select * from public.productos where stock_actual <= 10) p
     full join (select * from public.insights where is_active and tipo in ('STOCK_BAJO', 'PRODUCTO_SIN_STOCK')) i
       on i.extra_data ->> 'producto_id' = p.id::text
     where p.id is null or i.id is null
       or i.tipo <> case when p.stock_actual <= 0 then 'PRODUCTO_SIN_STOCK' else 'STOCK_BAJO' end`,
  );
  assert.deepEqual(wrong, []);
  const { rows: twice } = await pool.query(
    `select tipo, extra_data ->> 'producto_id' as producto from public.insights where is_active
     and tipo in ('STOCK_BAJO', 'PRODUCTO_SIN_STOCK') group by 1, 2 having count(*) > 1`,
  );
  assert.deepEqual(twice, []);
}
