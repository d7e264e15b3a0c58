import type { Pool } from "pg";
import { addProduct, addSale, addStore } from "../support/fixtures.ts";

/** A shop with sales, and what its reports must say: worked out here from the same tickets, in whole cents. */

export type Line = { product: number; quantity: number; price: number };
export type Ticket = { at: Date; cents: number; method: string; pending: number; lines: Line[] };
export type Product = { id: string; nombre: string; cost: number };

export const cents = (pesos: number) => Math.round(pesos * 100);
export const sum = (numbers: number[]) => numbers.reduce((total, n) => total + n, 0);

/** A small random generator, so that a failure can be repeated. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
}

/** The store's clock: '2026-11-24 20:00:00'. */
export function localTime(at: Date, timeZone: string): string {
  return new Intl.DateTimeFormat("sv-SE", {
    timeZone,
    dateStyle: "short",
    timeStyle: "medium",
  }).format(at);
}

export function addDays(day: string, days: number): string {
  return new Date(Date.parse(`${day}T00:00:00Z`) + days * 86_400_000).toISOString().slice(0, 10);
}

/** The date on which the business day of this instant begins. */
export function businessDay(at: Date, timeZone: string, dayStartsAt: string): string {
  const [day = "", time = ""] = localTime(at, timeZone).split(" ");
  return time < dayStartsAt ? addDays(day, -1) : day;
}

/** Adds a store with a few weighed and counted products, and `count` tickets in the `days` before asOf. */
export async function openShop(
  pool: Pool,
  options: {
    timeZone: string;
    dayStartsAt?: string;
    asOf: Date;
    days: number;
    count: number;
    seed: number;
  },
): Promise<{ tienda: string; products: Product[]; tickets: Ticket[] }> {
  const next = random(options.seed);
  const tienda = await addStore(pool, {
    settings: { time_zone: options.timeZone, day_starts_at: options.dayStartsAt },
  });
  const products: Product[] = [];
  for (const [nombre, tipo, cost] of [
    ["Queso", "pesable", 5123.45],
    ["Jamón", "pesable", 8000],
    ["Pan", "general", 0.333],
    ["Vino", "general", 2500.1],
  ] as const) {
    const id = await addProduct(pool, tienda, { nombre, tipo, precioCosto: cost });
    products.push({ id, nombre, cost });
  }
  const tickets: Ticket[] = [];
  // Half an hour before and after a month ago: on one side of it only where the clocks changed since.
  const monthAgo = options.asOf.getTime() - 30 * 86_400_000;
  const chosen = [monthAgo - 1_800_000, monthAgo + 1_800_000];
  for (let n = 0; n < options.count; n += 1) {
    const anyTime =
      options.asOf.getTime() - Math.floor(next() * options.days * 86_400) * 1000 - 1000;
    const at = new Date(chosen[n] ?? anyTime);
    const lines = Array.from({ length: 1 + Math.floor(next() * 3) }, () => ({
      product: Math.floor(next() * products.length),
      quantity: Math.round(next() * 3000 + 1) / 1000,
      price: Math.round(next() * 1_000_000) / 100,
    }));
    const total = sum(lines.map(({ quantity, price }) => quantity * price));
    const method =
      ["efectivo", "tarjeta_debito", "mercadopago"][Math.floor(next() * 3)] ?? "efectivo";
    await addSale(pool, tienda, {
      fecha: at,
      total,
      metodoPago: method,
      statusPago: method === "mercadopago" ? "pagado" : "pendiente",
      lines: lines.map(({ product, quantity, price }) => ({
        productoId: products[product]?.id ?? "",
        cantidad: quantity,
        precio: price,
      })),
    });
    const pending = method === "tarjeta_debito" ? cents(total) : 0;
    tickets.push({ at, cents: cents(total), method, pending, lines });
  }
  return { tienda, products, tickets };
}

/** Calls a private function of the reports, which takes the time as an argument. */
export async function report(pool: Pool, name: string, ...args: unknown[]) {
  const { rows } = await pool.query(
    `select to_jsonb(r) as r from nexus_engine.${name}(${args.map((_, i) => `$${i + 1}`).join(", ")}) r`,
    args,
  );
  return rows.map(({ r }) => r);
}
