import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { untilIdle } from "./fleet.ts";

/** 5 % of its products are low or out. */
export async function makeHugeStore(owner: Client, products: number): Promise<string> {
  const { rows } = await owner.query<{ id: string }>(
    `with tienda as (
       insert into public.tiendas (id, nombre, rubro, is_active)
       values (gen_random_uuid(), 'Mayorista', 'almacen', true) returning id
     ),
     producto as (
       insert into public.productos
         (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
       select gen_random_uuid(), 'Producto ' || n, 'MAY-' || n, 100, 60,
         case when n % 20 = 0 then n / 20 % 10 else 100 end, 'general', true, tienda.id
       from tienda, generate_series(1, $1) n
     )
     select id from tienda`,
    [products],
  );
  const huge = rows[0]?.id ?? "";
  // The crossings of the new products have been drained.
  for (;;) {
    const { rowCount } = await owner.query("select from nexus_engine.stock_event limit 1");
    if (!rowCount) break;
    await sleep(100);
  }
  await owner.query("vacuum (analyze) public.productos, nexus_engine.stock_watch");
  return huge;
}

/** Milliseconds that a refresh of the store takes, from nothing, with the workers to itself. */
export async function refreshAlone(owner: Client, store: string): Promise<number> {
  await untilIdle(owner);
  await forget(owner, store);
  await owner.query("select nexus_engine.request_refresh($1)", [store]);
  await untilIdle(owner);
  const { rows } = await owner.query<{ ms: number }>(
    `select extract(epoch from finished_at - started_at)::float8 * 1000 as ms
     from nexus_engine.job_run where tiendas = array[$1::uuid] order by id desc limit 1`,
    [store],
  );
  return rows[0]?.ms ?? Number.NaN;
}

/** As if nothing had ever been told to the store. */
export async function forget(owner: Client, store: string): Promise<void> {
  await owner.query("delete from nexus_engine.open_insight where tienda_id = $1", [store]);
  await owner.query("delete from public.insights where tienda_id = $1", [store]);
}
