import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { connect } from "../../src/database/client.ts";

export type Traffic = { counts: Record<string, number>; stop(): Promise<void> };

/** What a sale does, in one transaction; one in five restocks instead. */
const sale = `
  with product as (
    select id, tienda_id, precio_venta from public.productos order by random() limit 1
  ),
  ticket as (
    insert into public.ventas (id, fecha, total, metodo_pago, status_pago, tienda_id)
    select gen_random_uuid(), now(), precio_venta, 'efectivo', 'pendiente', tienda_id from product
    where $1 returning id
  ),
  line as (
    insert into public.detalles_venta (id, cantidad, precio_unitario, subtotal, venta_id, producto_id)
    select gen_random_uuid(), 1, precio_venta, precio_venta, ticket.id, product.id from ticket, product
  )
  update public.productos p
  set stock_actual = case when $1 then p.stock_actual - ceil(random() * 6) else 40 end
  from product where p.id = product.id`;

const request = `
  select nexus_engine.request_refresh(id) from public.tiendas order by random() limit 1`;

/** As the crontab does, in quick motion. */
const tick = "select graphile_worker.add_job($1, max_attempts => 5)";

/** Sales, orders to refresh and schedules without a pause, whatever happens to Postgres. */
export function startTraffic(url: string): Traffic {
  const counts = { sales: 0, requests: 0, ticks: 0, refused: 0 };
  const stopping = new AbortController();
  const { signal } = stopping;

  async function flow(
    pauseMs: number,
    kind: "sales" | "requests" | "ticks",
    act: (client: Client, n: number) => Promise<unknown>,
  ): Promise<void> {
    let client: Client | undefined;
    for (let n = 0; !signal.aborted; n += 1) {
      try {
        if (!client) {
          client = await connect(url, "chaos-traffic");
          client.on("error", () => {});
        }
        await act(client, n);
        counts[kind] += 1;
      } catch {
        counts.refused += 1;
        await client?.end().catch(() => {});
        client = undefined;
        await sleep(100);
      }
      await sleep(pauseMs * (0.5 + Math.random()), undefined, { signal }).catch(() => {});
    }
    await client?.end().catch(() => {});
  }

  const every = (seconds: number, task: string) =>
    flow(seconds * 1000, "ticks", (client) => client.query(tick, [task]));
  const flows = [
    ...Array.from({ length: 3 }, () =>
      flow(80, "sales", (client, n) => client.query(sale, [n % 5 !== 0])),
    ),
    flow(500, "requests", (client) => client.query(request)),
    every(2, "generate_sales_summary"),
    every(3, "generate_stock_alerts"),
    every(5, "roll_up"),
    every(10, "generate_all_insights"),
  ];
  return {
    counts,
    async stop() {
      stopping.abort();
      await Promise.all(flows);
    },
  };
}
