import { createReadStream, existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createGunzip } from "node:zlib";
import type { Pool } from "pg";
import { addStore } from "./fixtures.ts";

/**
 * UCI Online Retail: every ticket line of one shop in the UK (Chen, Sain & Guo 2012,
 * doi:10.1057/dbm.2012.17). It lies beside the project and is never copied into it.
 */
const file = join(import.meta.dirname, "../../../shared/data/online_retail.csv.gz");

/** Why a test cannot run, or false. */
export const withoutOnlineRetail = existsSync(file)
  ? false
  : "../shared/data/online_retail.csv.gz is not there: UCI Online Retail is needed for this test";

export const timeZone = "Europe/London";

export type Ticket = {
  invoice: string;
  /** Wall time in the shop, "2010-12-01 08:26": the first, where its lines have two. */
  at: string;
  /** The invoice is a cancellation, which gives back what another one took. */
  cancelled: boolean;
  /** Sum of the lines in thousandths: four prices have three decimals. */
  thousandths: number;
};

type Line = { ticket: number; product: number; quantity: number; thousandths: number };

export type OnlineRetail = {
  tickets: Ticket[];
  lines: Line[];
  products: { code: string; name: string; thousandths: number }[];
};

/**
 * As it stands: prices of zero and below, negative quantities and negative totals included.
 * @param before the date from which on lines are left out.
 */
export async function readOnlineRetail(before = "9999-12-31"): Promise<OnlineRetail> {
  const data: OnlineRetail = { tickets: [], lines: [], products: [] };
  const ticketOf = new Map<string, number>();
  const productOf = new Map<string, number>();
  const input = createReadStream(file).pipe(createGunzip());
  let heading = true;
  for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (heading) {
      heading = false;
      continue;
    }
    const [invoice = "", code = "", name = "", quantityText, at = "", priceText] = fields(text);
    if (at >= before) continue;
    const quantity = Number(quantityText);
    const thousandths = Math.round(Number(priceText) * 1000);
    if (!Number.isInteger(quantity) || Number.isNaN(thousandths)) {
      throw new Error(`expected a quantity and a price, got ${text}`);
    }
    let ticket = ticketOf.get(invoice);
    if (ticket === undefined) {
      ticket =
        data.tickets.push({ invoice, at, cancelled: invoice.startsWith("C"), thousandths: 0 }) - 1;
      ticketOf.set(invoice, ticket);
    }
    let product = productOf.get(code);
    if (product === undefined) {
      product = data.products.push({ code, name: name || code, thousandths }) - 1;
      productOf.set(code, product);
    }
    const owner = data.tickets[ticket];
    if (owner) owner.thousandths += quantity * thousandths;
    data.lines.push({ ticket, product, quantity, thousandths });
  }
  return data;
}

/** The fields of one CSV line; only some descriptions are quoted. */
function fields(text: string): string[] {
  if (!text.includes('"')) return text.split(",");
  return Array.from(text.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g), ([, quoted, plain]) =>
    quoted === undefined ? (plain ?? "") : quoted.replaceAll('""', '"'),
  );
}

/**
 * Writes it as one store: an invoice is a venta, pagado or, when it is a cancellation, anulado.
 * Stock and cost, which the data does not have, are simulated: one product in twenty is low.
 * Keys are counted up, which keeps half a million index entries cheap. Returns the store's id.
 */
export async function loadOnlineRetail(pool: Pool, data: OnlineRetail): Promise<string> {
  const store = await addStore(pool, {
    nombre: "Online Retail",
    settings: { time_zone: timeZone },
  });
  const client = await pool.connect();
  try {
    await client.query("begin");
    // The rows refer to nothing that is not there: half of the time went into looking.
    await client.query("set local session_replication_role = replica");
    await client.query("set local synchronous_commit = off");
    await client.query(
      `insert into public.productos (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
       select ${keyOf("n")}, left(nombre, 255), sku, precio / 1000, precio / 2000,
         case when n % 20 = 0 then 1 + n % 10 else 20 + n % 400 end, 'general', true, $4
       from unnest($1::text[], $2::text[], $3::float8[]) with ordinality p (sku, nombre, precio, n)`,
      [
        data.products.map(({ code }) => code),
        data.products.map(({ name }) => name),
        data.products.map(({ thousandths }) => thousandths),
        store,
      ],
    );
    await client.query(
      `insert into public.ventas (id, fecha, total, metodo_pago, created_at, status_pago, tienda_id)
       select ${keyOf("n")}, l.fecha, total / 1000, 'tarjeta_credito', l.fecha,
         case when anulado then 'anulado' else 'pagado' end, $4
       from unnest($1::timestamp[], $2::float8[], $3::bool[]) with ordinality v (at, total, anulado, n)
       cross join lateral (select v.at at time zone '${timeZone}' as fecha) l`,
      [
        data.tickets.map(({ at }) => at),
        data.tickets.map(({ thousandths }) => thousandths),
        data.tickets.map(({ cancelled }) => cancelled),
        store,
      ],
    );
    const batch = 50_000;
    for (let from = 0; from < data.lines.length; from += batch) {
      const lines = data.lines.slice(from, from + batch);
      // Joined text: an array of numbers would be turned into text one by one all the same.
      await client.query(
        `insert into public.detalles_venta (id, cantidad, precio_unitario, subtotal, venta_id, producto_id)
         select ${keyOf("$5 + n")}, cantidad, precio / 1000, cantidad * precio / 1000,
           ${keyOf("venta + 1")}, ${keyOf("producto + 1")}
         from unnest(string_to_array($1, ',')::int[], string_to_array($2, ',')::int[],
           string_to_array($3, ',')::float8[], string_to_array($4, ',')::float8[])
           with ordinality d (venta, producto, cantidad, precio, n)`,
        [
          lines.map(({ ticket }) => ticket).join(),
          lines.map(({ product }) => product).join(),
          lines.map(({ quantity }) => quantity).join(),
          lines.map(({ thousandths }) => thousandths).join(),
          from,
        ],
      );
    }
    await client.query("commit");
    // The load by-passed the triggers, as a restore does: this is what the nightly check does then.
    await client.query(
      "select nexus_engine.check_stock_watch(array(select id from public.tiendas), now())",
    );
    await client.query("analyze public.productos, public.ventas, public.detalles_venta");
  } finally {
    client.release(true);
  }
  return store;
}

/** The n-th key of a table. */
function keyOf(n: string): string {
  return `('00000000-0000-4000-8000-' || lpad(to_hex(${n}), 12, '0'))::uuid`;
}
