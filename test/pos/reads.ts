import { type Conversation, signedIn } from "./conversation.ts";
import type { Caller } from "./endpoints.ts";

/** What lists, searches, reports, exports and dashboards ask. Ordered where the POS leaves that to Postgres. */
const sold = `from productos p join detalles_venta d on p.id = d.producto_id join ventas v on d.venta_id = v.id
  where v.tienda_id = $1 and v.fecha >= $2 and v.status_pago = 'pagado'`;

const reads: Record<string, string> = {
  list: `select id, nombre, sku, precio_venta, stock_actual, is_active, created_at from productos
    where tienda_id = $1 and created_at >= $2::timestamptz - interval '1 year' order by id limit 500`,
  search: `select id, nombre, sku, stock_actual from productos where tienda_id = $1 and created_at >= $2::timestamptz - interval '1 year'
    and is_active = true and (nombre ilike '%a%' or sku ilike '%a%' or descripcion ilike '%a%') and precio_venta >= 1 order by id`,
  tickets: `select id, fecha, total, metodo_pago, created_at, status_pago, payment_id, afip_cae, afip_cae_vto from ventas
    where tienda_id = $1 and fecha >= $2 order by fecha desc, id limit 100`,
  lines: `select v.id as venta, count(d.id) from ventas v left join detalles_venta d on v.id = d.venta_id
    where v.tienda_id = $1 and v.fecha >= $2 group by v.id order by v.id`,
  low: `select id, stock_actual from productos where tienda_id = $1 and created_at <= $2::timestamptz + interval '1 year'
    and stock_actual <= 10 and is_active = true order by stock_actual, id`,
  out: `select id from productos where tienda_id = $1 and created_at <= $2::timestamptz + interval '1 year'
    and stock_actual = 0 and is_active = true order by id`,
  worth: `select count(id), sum(stock_actual * precio_costo) as cost, sum(stock_actual * precio_venta) as price from productos
    where tienda_id = $1 and created_at <= $2::timestamptz + interval '1 year' and is_active = true`,
  total: `select coalesce(sum(total), 0) as total, count(id), avg(total) from ventas
    where tienda_id = $1 and fecha >= $2 and status_pago = 'pagado'`,
  methods: `select metodo_pago, count(id) from ventas where tienda_id = $1 and fecha >= $2 and status_pago = 'pagado'
    group by metodo_pago order by 2 desc, 1`,
  hours: `select date_trunc('hour', fecha) as hora, count(id), sum(total) from ventas
    where tienda_id = $1 and fecha >= $2 and status_pago = 'pagado' group by hora order by hora`,
  days: `select date(fecha) as fecha, count(id), sum(total) from ventas
    where tienda_id = $1 and fecha >= $2 and status_pago = 'pagado' group by date(fecha) order by date(fecha)`,
  best: `select p.id, p.sku, p.nombre, sum(d.cantidad), sum(d.subtotal), count(d.id) ${sold} group by p.id, p.sku, p.nombre order by 4 desc, 1`,
  margins: `select p.id, sum(d.cantidad * p.precio_costo), sum(d.subtotal) ${sold} group by p.id order by 3 desc, 1`,
};

export const reports = Object.keys(reads);

export function* read(caller: Caller, report: string, since: Date): Conversation {
  yield* signedIn(caller);
  yield [reads[report] ?? "", caller.store, since];
  yield ["rollback"];
  return 200;
}
