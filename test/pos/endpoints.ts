import { type Conversation, oneOrNone, type Row, signedIn } from "./conversation.ts";

/**
 * The endpoints of the POS that write products and sales, as the statements that they send: written down from its
 * log, in words of ours. Of a product all columns are asked for, save updated_at, which is Postgres's clock.
 */

export type Caller = { user: string; store: string };

const product = `select id, nombre, sku, descripcion, precio_venta, precio_costo, stock_actual, tipo, atributos,
  is_active, created_at, tienda_id from productos`;
const ticket = `select id, fecha, total, metodo_pago, created_at, status_pago, payment_id, afip_cae, afip_cae_vto,
  tienda_id from ventas`;

export type Line = { id: string; producto: string; cantidad: number };
export type Sale = { id: string; at: Date; metodo: string; lines: Line[] };

/** POST /ventas/checkout: locks each product, refuses what is not there, writes all in one transaction. */
export function* checkout(caller: Caller, sale: Sale): Conversation {
  yield* signedIn(caller);
  const sold = new Map<string, { row: Row; left: number }>();
  const subtotals: number[] = [];
  for (const { producto, cantidad } of sale.lines) {
    const rows = yield [
      `${product} where id = $1 and tienda_id = $2 for update`,
      producto,
      caller.store,
    ];
    const found = oneOrNone(rows);
    // A product's second line goes on from what the first one left.
    const item =
      sold.get(producto) ?? (found && { row: found, left: Number(found["stock_actual"]) });
    if (!item?.row["is_active"] || item.left < cantidad) {
      yield ["rollback"];
      return item ? 400 : 404;
    }
    item.left -= cantidad;
    sold.set(producto, item);
    subtotals.push(Number(item.row["precio_venta"]) * cantidad);
  }
  for (const [id, { left }] of [...sold].sort(([a], [b]) => (a < b ? -1 : 1))) {
    yield ["update productos set stock_actual = $1, updated_at = now() where id = $2", left, id];
  }
  yield [
    `insert into ventas (id, fecha, total, metodo_pago, created_at, status_pago, payment_id, afip_cae, afip_cae_vto, tienda_id)
     values ($1, $2, $3, $4, $2, 'pendiente', null, null, null, $5)`,
    sale.id,
    sale.at,
    subtotals.reduce((sum, subtotal) => sum + subtotal, 0),
    sale.metodo,
    caller.store,
  ];
  for (const [n, { id, producto, cantidad }] of sale.lines.entries()) {
    const subtotal = subtotals[n] ?? 0;
    yield [
      `insert into detalles_venta (id, cantidad, precio_unitario, subtotal, venta_id, producto_id)
       values ($1, $2, $3, $4, $5, $6)`,
      id,
      cantidad,
      subtotal / cantidad,
      subtotal,
      sale.id,
      producto,
    ];
  }
  yield ["commit"];
  return 201;
}

export type NewProduct = { id: string; nombre: string; sku: string; stock: number; at: Date };

/** POST /productos: unless the store has one with this SKU. */
export function* createProduct(caller: Caller, given: NewProduct): Conversation {
  yield* signedIn(caller);
  const rows = yield [`${product} where tienda_id = $1 and sku = $2`, caller.store, given.sku];
  if (oneOrNone(rows)) {
    yield ["rollback"];
    return 400;
  }
  yield [
    `insert into productos (id, nombre, sku, descripcion, precio_venta, precio_costo, stock_actual, tipo, atributos, is_active, created_at, updated_at, tienda_id)
     values ($1, $2, $3, null, 100, 60, $4, 'general', '{}', true, $5, $5, $6)`,
    given.id,
    given.nombre,
    given.sku,
    given.stock,
    given.at,
    caller.store,
  ];
  yield ["commit"];
  yield ["begin"];
  yield [`${product} where id = $1`, given.id];
  yield ["rollback"];
  return 201;
}

export type Patch = {
  nombre?: string;
  sku?: string;
  precio_venta?: number;
  stock_actual?: number;
  is_active?: boolean;
};

/**
 * PATCH /productos/{id}: only what differs is written. POST /inventario/ajustar-stock and DELETE /productos/{id}
 * send the same, without reading it again: `answers` with what the product is now.
 */
export function* patchProduct(
  caller: Caller,
  id: string,
  patch: Patch,
  answers = true,
): Conversation {
  yield* signedIn(caller);
  const rows = yield [`${product} where id = $1 and tienda_id = $2`, id, caller.store];
  const row = oneOrNone(rows);
  if (!row) {
    yield ["rollback"];
    return 404;
  }
  if (patch.sku && patch.sku !== row["sku"]) {
    const taken = yield [`${product} where tienda_id = $1 and sku = $2`, caller.store, patch.sku];
    if (oneOrNone(taken)) {
      yield ["rollback"];
      return 400;
    }
  }
  const changed = Object.entries(patch).filter(([column, value]) => row[column] !== value);
  if (changed.length > 0) {
    const columns = changed.map(([column], n) => `${column} = $${n + 2}`);
    yield [
      `update productos set ${columns.join(", ")}, updated_at = now() where id = $1`,
      id,
      ...changed.map(([, value]) => value),
    ];
  }
  yield ["commit"];
  if (answers) {
    yield ["begin"];
    yield [`${product} where id = $1`, id];
    yield ["rollback"];
  }
  return 200;
}

/** POST /payments/webhook: Mercado Pago says that a ticket was paid; its invoice follows in a second transaction. */
export function* webhookPayment(venta: string, payment: string, invoiceDue: Date): Conversation {
  yield ["begin"];
  const rows = yield [`${ticket} where id = $1`, venta];
  if (!oneOrNone(rows)) {
    yield ["rollback"];
    return 200;
  }
  yield ["update ventas set status_pago = 'pagado', payment_id = $1 where id = $2", payment, venta];
  yield ["commit"];
  yield ["begin"];
  yield [
    "update ventas set afip_cae = '00000012345678', afip_cae_vto = $1 where id = $2",
    invoiceDue,
    venta,
  ];
  yield ["commit"];
  return 200;
}

/** No endpoint annuls a ticket: somebody does it in psql, with a wrong one now and then. */
export function* annul(venta: string): Conversation {
  yield ["update ventas set status_pago = 'anulado' where id = $1", venta];
  return 200;
}

/** A script deletes a product for good; Postgres refuses where it was sold, and says so in the same words. */
export function* deleteForGood(producto: string): Conversation {
  yield ["begin"];
  yield ["update productos set stock_actual = stock_actual - 1 where id = $1", producto];
  yield ["delete from productos where id = $1", producto];
  yield ["commit"];
  return 200;
}
