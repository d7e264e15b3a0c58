import type { Pool } from "pg";
import type { Shop } from "../shops.ts";
import type { Screens } from "./screens.ts";
import { ticksAt } from "./ticks.ts";

/** What an hour brings to one store, besides the ticks of the crontab. */
const perStoreAndHour = { queries: 60, sales: 20, requests: 1, screens: 4 };
/** How long somebody looks at a screen that subscribes, in minutes. */
const screenMinutes = 10;
/** How many things are done at once. */
const lanes = 8;

/** A sale of three lines in one transaction, which restocks what runs out. */
const sale = `
  with product as (
    select id from public.productos where tienda_id = $1 offset floor(random() * 97) limit 3
  ),
  ticket as (
    insert into public.ventas (id, fecha, total, metodo_pago, status_pago, tienda_id)
    values (gen_random_uuid(), now(), 300, 'efectivo', 'pendiente', $1) returning id
  ),
  line as (
    insert into public.detalles_venta (id, cantidad, precio_unitario, subtotal, venta_id, producto_id)
    select gen_random_uuid(), 1, 100, 100, ticket.id, product.id from ticket, product
  )
  update public.productos p
  set stock_actual = case when p.stock_actual < 1 then 40 else p.stock_actual - 2 end
  from product where p.id = product.id`;

export type Counts = Record<keyof typeof perStoreAndHour | "ticks", number>;

export type Operation = {
  counts: Counts;
  /** All that one minute brings; returns when it is done. */
  minute(n: number): Promise<void>;
  end(): Promise<void>;
};

/**
 * The operation of these stores, minute by minute. Everything is spread evenly over time and stores.
 * @param since the simulated time of minute 0: which ticks come is told by the clock.
 */
export function operate(pos: Pool, shops: Shop[], screens: Screens, since: Date): Operation {
  const counts: Counts = { queries: 0, sales: 0, requests: 0, screens: 0, ticks: 0 };
  const open: { until: number; close: () => Promise<void> }[] = [];
  const next = (kind: keyof Counts) => shops[counts[kind]++ % shops.length] as Shop;

  const acts: Record<keyof typeof perStoreAndHour, (minute: number) => Promise<unknown>> = {
    // The number turns through the kinds of query, whatever the number of stores.
    queries: () => screens.query(next("queries"), Math.floor(counts.queries / 7)),
    sales: () => pos.query({ name: "sale", text: sale, values: [next("sales").id] }),
    requests: () => screens.refresh(next("requests")),
    screens: async (minute) => {
      const close = await screens.open(next("screens"));
      open.push({ until: minute + screenMinutes, close });
    },
  };

  async function minute(n: number): Promise<void> {
    for (const task of ticksAt(new Date(since.getTime() + n * 60_000))) {
      counts.ticks += 1;
      await pos.query("select graphile_worker.add_job($1)", [task]);
    }
    const todo: (() => Promise<unknown>)[] = [];
    for (const [kind, rate] of Object.entries(perStoreAndHour)) {
      const upTo = (at: number) => Math.floor((shops.length * rate * at) / 60);
      const act = acts[kind as keyof typeof acts];
      for (let k = upTo(n); k < upTo(n + 1); k += 1) todo.push(() => act(n));
    }
    const past = open.filter(({ until }) => until <= n);
    for (const screen of past) {
      open.splice(open.indexOf(screen), 1);
      todo.push(screen.close);
    }
    todo.sort(() => Math.random() - 0.5);
    const lane = async () => {
      for (let act = todo.pop(); act; act = todo.pop()) await act();
    };
    await Promise.all(Array.from({ length: lanes }, lane));
  }

  return {
    counts,
    minute,
    end: async () => {
      await Promise.all(open.splice(0).map(({ close }) => close()));
    },
  };
}
