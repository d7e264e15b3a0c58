import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Pool } from "pg";

/** Shops of the POS, and what their cashiers do. */

/** From one sale to the next, on average, besides the time that it takes itself. */
const salesMs = 25;

export type Shop = { id: string; user: string; products: string[] };

/** Who waits for an alert about a product. */
export type Arrivals = Map<string, (at: number) => void>;

export async function openShop(pos: Pool, products: number): Promise<Shop> {
  const [id, user] = [randomUUID(), randomUUID()];
  await pos.query(
    "insert into public.tiendas (id, nombre, rubro, is_active) values ($1, 'Tienda', 'almacen', true)",
    [id],
  );
  await pos.query(
    `insert into public.users (id, email, hashed_password, full_name, rol, is_active, tienda_id)
     values ($1::uuid, $1::uuid || '@example.com', 'x', 'Persona', 'owner', true, $2)`,
    [user, id],
  );
  const { rows } = await pos.query<{ id: string }>(
    `insert into public.productos (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
     select gen_random_uuid(), 'Producto ' || n, 'SKU-' || gen_random_uuid(), 100, 60, 100000, 'general', true, $1
     from generate_series(1, $2) n returning id`,
    [id, products],
  );
  return { id, user, products: rows.map((product) => product.id) };
}

/**
 * Sales of three lines in one store after the other. Each takes one product below its threshold,
 * unless quiet; from the moment that its commit is sent until the message about it has come.
 */
export async function sell(
  pos: Pool,
  shops: Shop[],
  arrivals: Arrivals,
  count: number,
  quiet?: "quiet",
): Promise<{ pushes: number[]; sales: number[] }> {
  const waiting: Promise<number>[] = [];
  const sales: number[] = [];
  for (let n = 0; n < count; n += 1) {
    const shop = shops[n % shops.length];
    if (!shop) break;
    const client = await pos.connect();
    const lines = quiet
      ? shop.products.slice(-3)
      : shop.products.splice(0, 1).concat(shop.products.slice(-2));
    const began = performance.now();
    await client.query("begin");
    const { rows } = await client.query<{ id: string }>(
      `insert into public.ventas (id, fecha, total, metodo_pago, status_pago, created_at, tienda_id)
       values (gen_random_uuid(), now(), 300, 'efectivo', 'pendiente', now(), $1) returning id`,
      [shop.id],
    );
    for (const [line, product] of lines.entries()) {
      await client.query(
        `insert into public.detalles_venta (id, cantidad, precio_unitario, subtotal, venta_id, producto_id)
         values (gen_random_uuid(), 1, 100, 100, $1, $2)`,
        [rows[0]?.id, product],
      );
      const stock = line === 0 && !quiet ? "5" : "stock_actual - 1";
      await client.query(`update public.productos set stock_actual = ${stock} where id = $1`, [
        product,
      ]);
    }
    const arrival = Promise.withResolvers<number>();
    const sent = performance.now();
    if (!quiet) {
      arrivals.set(lines[0] ?? "", arrival.resolve);
      waiting.push(arrival.promise.then((at) => at - sent));
    }
    await client.query("commit");
    sales.push(performance.now() - began);
    client.release();
    await sleep(salesMs * (0.5 + Math.random()));
  }
  return { pushes: await Promise.all(waiting), sales };
}

export async function importStock(
  pos: Pool,
  { id }: Shop,
): Promise<{ sent: number; statement: number }> {
  const client = await pos.connect();
  await client.query("begin");
  const began = performance.now();
  await client.query("update public.productos set stock_actual = 0 where tienda_id = $1", [id]);
  const sent = performance.now();
  await client.query("commit");
  client.release();
  return { sent, statement: sent - began };
}
