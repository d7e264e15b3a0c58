import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";

/** What the POS does meanwhile: each connection one thing after the other, with short pauses. */

export const cashier = "pos-cashier";
const connections = 6;
/** From one thing that a connection does to the next, on average. */
const pauseMs = 15;

export type Kind = "checkout" | "other write" | "read";
/** `began` as performance.now() has it. */
export type Done = { kind: Kind; began: number; ms: number };
export type Traffic = { done: Done[]; failed: string[]; stop(): Promise<void> };

type Shop = { id: string; products: string[] };

export async function startTraffic(url: string): Promise<Traffic> {
  const traffic = { done: [] as Done[], failed: [] as string[] };
  let going = true;
  const running: Promise<void>[] = [];
  for (let n = 0; n < connections; n += 1) {
    const client = await connectAs(url, cashier);
    const shops = await shopsOf(client);
    const work = async () => {
      while (going) {
        const [kind, run] = next(pick(shops));
        const began = performance.now();
        try {
          await run(client);
          traffic.done.push({ kind, began, ms: performance.now() - began });
        } catch (error) {
          traffic.failed.push(`${kind}: ${error}`);
          await client.query("rollback");
        }
        await sleep(pauseMs * (0.5 + Math.random()));
      }
      await client.end();
    };
    running.push(work());
  }
  const stop = async () => {
    going = false;
    await Promise.all(running);
  };
  return { ...traffic, stop };
}

export async function connectAs(url: string, name: string): Promise<Client> {
  const client = new Client({ connectionString: url, application_name: name });
  await client.connect();
  return client;
}

async function shopsOf(client: Client): Promise<Shop[]> {
  const { rows } = await client.query<Shop>(
    "select tienda_id as id, array_agg(id) as products from public.productos group by 1 order by 1",
  );
  return rows;
}

/** Sent as text, as the POS's driver does where it prepares nothing. */
function next(shop: Shop): [Kind, (client: Client) => Promise<unknown>] {
  const at = Math.random();
  const product = pick(shop.products);
  if (at < 0.6) return ["checkout", (client) => checkout(client, shop)];
  if (at < 0.65) {
    const stock = Math.random() < 0.3 ? 3 : 100000;
    return ["other write", (client) => edit(client, product, `stock_actual = ${stock}`)];
  }
  if (at < 0.68) {
    const name = `Producto ${Math.floor(at * 1e6)}`;
    const changes = `nombre = '${name}', precio_venta = ${100 + Math.floor(at * 10)}`;
    return ["other write", (client) => edit(client, product, changes)];
  }
  if (at < 0.78) return ["other write", (client) => pay(client, shop)];
  return ["read", (client) => read(client, shop, at)];
}

/** As the POS does it: reads the products, inserts a ticket and its lines, takes the stock. */
async function checkout(client: Client, { id, products }: Shop): Promise<void> {
  // In one order, so that two of them are no deadlock.
  const sold = [pick(products), pick(products), pick(products)].sort();
  const method = pick(["efectivo", "tarjeta_debito", "tarjeta_credito", "transferencia"]);
  await client.query("begin");
  await client.query(
    `select * from public.productos where id in (${sold.map((p) => `'${p}'`)}) and tienda_id = '${id}' and is_active`,
  );
  const { rows } = await client.query<{ id: string }>(
    `insert into public.ventas (id, fecha, total, metodo_pago, created_at, status_pago, tienda_id)
     values (gen_random_uuid(), clock_timestamp(), 300, '${method}', clock_timestamp(), 'pendiente', '${id}') returning id`,
  );
  for (const product of sold) {
    await client.query(
      `insert into public.detalles_venta (id, cantidad, precio_unitario, subtotal, venta_id, producto_id)
       values (gen_random_uuid(), 1, 100, 100, '${rows[0]?.id}', '${product}')`,
    );
  }
  for (const product of sold) {
    await client.query(
      `update public.productos set stock_actual = stock_actual - 1, updated_at = now() where id = '${product}'`,
    );
  }
  await client.query("commit");
}

async function edit(client: Client, product: string, changes: string): Promise<void> {
  await client.query(
    `update public.productos set ${changes}, updated_at = now() where id = '${product}'`,
  );
}

/** The webhook of Mercado Pago: mostly of the last minutes, now and then of days ago. */
async function pay(client: Client, { id }: Shop): Promise<void> {
  const days = Math.random() < 0.2 ? 1 + Math.floor(Math.random() * 20) : 0;
  await client.query(
    `update public.ventas set status_pago = 'pagado', payment_id = 'mp' where id = (
       select id from public.ventas where tienda_id = '${id}' and status_pago = 'pendiente'
         and fecha < now() - interval '${days} days' order by fecha desc limit 1)`,
  );
}

async function read(client: Client, { id }: Shop, at: number): Promise<void> {
  if (at < 0.86) {
    await client.query(
      `select * from public.productos where tienda_id = '${id}' order by nombre limit 50`,
    );
  } else if (at < 0.93) {
    await client.query(
      `select * from public.insights where tienda_id = '${id}' and is_active order by created_at desc limit 50`,
    );
  } else {
    await client.query(
      `select * from public.ventas where tienda_id = '${id}' order by fecha desc limit 20`,
    );
  }
}

function pick<T>(values: readonly T[]): T {
  return values[Math.floor(Math.random() * values.length)] as T;
}
