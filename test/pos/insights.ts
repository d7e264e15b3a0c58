import { randomUUID } from "node:crypto";
import {
  type Conversation,
  oneOrNone,
  type Row,
  type Statement,
  signedIn,
} from "./conversation.ts";
import type { Caller } from "./endpoints.ts";

/**
 * The POS's own insight endpoints, as the statements that they send. It commits after each type, looks for an active
 * alert of the last 24 hours before it writes one, and cannot go on where it meets two.
 */

const insight =
  "select id, tipo, mensaje, nivel_urgencia, is_active, extra_data, created_at, tienda_id from insights";
const hours = (at: Date, count: number) => new Date(at.getTime() - count * 3_600_000);

type Part<T> = Generator<Statement, T, Row[]>;

/** POST /insights/refresh and background-refresh; with `force` after it has archived what is active. */
export function* refresh(caller: Caller, at: Date, force = false): Conversation {
  yield* signedIn(caller);
  if (force) {
    const active = yield [`${insight} where tienda_id = $1 and is_active = true`, caller.store];
    for (const { id } of active) {
      yield ["update insights set is_active = false where id = $1", id];
    }
    yield ["commit"];
    yield ["begin"];
  }
  const low = yield [
    "select * from productos where tienda_id = $1 and stock_actual <= 10 and is_active = true",
    caller.store,
  ];
  for (const row of low) {
    const stock = Number(row["stock_actual"]);
    const urgencia = stock <= 3 ? "CRITICA" : stock <= 5 ? "ALTA" : "MEDIA";
    yield* alert(caller, at, "STOCK_BAJO", urgencia, row, `Quedan ${Math.trunc(stock)} unidades`);
  }
  yield ["commit"];
  yield ["begin"];
  const out = yield [
    "select * from productos where tienda_id = $1 and stock_actual = 0 and is_active = true",
    caller.store,
  ];
  for (const row of out) {
    yield* alert(caller, at, "PRODUCTO_SIN_STOCK", "ALTA", row, "Agotado: 0 unidades");
  }
  yield ["commit"];
  yield ["begin"];
  yield* summary(caller, at);
  yield ["commit"];
  return 200;
}

function* alert(
  caller: Caller,
  at: Date,
  tipo: string,
  urgencia: string,
  product: Row,
  mensaje: string,
): Part<void> {
  const standing = yield [
    `${insight} where tienda_id = $1 and tipo = $2 and is_active = true and created_at >= $3
       and (extra_data ->> 'producto_id') = $4`,
    caller.store,
    tipo,
    hours(at, 24),
    product["id"],
  ];
  if (oneOrNone(standing)) return;
  const { id, nombre, sku, stock_actual } = product;
  yield* write(caller, at, tipo, urgencia, mensaje, {
    producto_id: id,
    producto_nombre: nombre,
    producto_sku: sku,
    ...(tipo === "STOCK_BAJO" && { stock_actual, umbral: 10 }),
  });
}

function* summary(caller: Caller, at: Date): Part<void> {
  const [sold] = yield [
    "select sum(total) as total, count(id)::int as tickets from ventas where tienda_id = $1 and fecha >= $2 and status_pago = 'pagado'",
    caller.store,
    hours(at, 24),
  ];
  if (!sold || sold["tickets"] === 0) return;
  const standing = yield [
    `${insight} where tienda_id = $1 and tipo = 'VENTAS_DIARIAS' and is_active = true and created_at >= $2`,
    caller.store,
    hours(at, 6),
  ];
  if (oneOrNone(standing)) return;
  yield* write(caller, at, "VENTAS_DIARIAS", "BAJA", `Hoy facturaste ${sold["total"]}`, {
    total_vendido: sold["total"],
    cantidad_ventas: sold["tickets"],
    periodo_horas: 24,
    fecha_desde: hours(at, 24).toISOString(),
  });
}

function* write(
  caller: Caller,
  at: Date,
  tipo: string,
  urgencia: string,
  mensaje: string,
  extra: Row,
): Part<void> {
  yield [
    `insert into insights (id, tipo, mensaje, nivel_urgencia, is_active, extra_data, created_at, tienda_id)
     values ($1, $2, $3, $4, true, $5, $6, $7)`,
    randomUUID(),
    tipo,
    mensaje,
    urgencia,
    extra,
    at,
    caller.store,
  ];
}

/** POST /insights/{id}/dismiss, of one of those that the list shows, if it shows any. */
export function* dismiss(caller: Caller, pick: number): Conversation {
  yield* signedIn(caller);
  const shown = yield [
    `${insight} where tienda_id = $1 and is_active = true order by tipo, extra_data ->> 'producto_id' limit 50`,
    caller.store,
  ];
  const chosen = shown[pick % Math.max(1, shown.length)];
  if (chosen) yield* archive(caller, chosen["id"]);
  yield ["commit"];
  return 204;
}

/** The same of this one. */
export function* dismissOne(caller: Caller, id: string): Conversation {
  yield* signedIn(caller);
  yield* archive(caller, id);
  yield ["commit"];
  return 204;
}

function* archive(caller: Caller, id: unknown): Part<void> {
  const [row] = yield [`${insight} where id = $1 and tienda_id = $2`, id, caller.store];
  if (row?.["is_active"]) {
    yield ["update insights set is_active = $1 where id = $2", false, row["id"]];
  }
}

/** DELETE /insights/clear-all: one by one. */
export function* clearAll(caller: Caller, onlyArchived: boolean): Conversation {
  yield* signedIn(caller);
  const rows = yield [
    `${insight} where tienda_id = $1 ${onlyArchived ? "and is_active = false" : ""}`,
    caller.store,
  ];
  for (const { id } of rows) yield ["delete from insights where id = $1", id];
  yield ["commit"];
  return 204;
}

/** GET /insights/stats */
export function* stats(caller: Caller): Conversation {
  yield* signedIn(caller);
  yield [
    "select tipo, nivel_urgencia, is_active, count(id) from insights where tienda_id = $1 group by 1, 2, 3",
    caller.store,
  ];
  yield ["rollback"];
  return 200;
}
