import { randomUUID } from "node:crypto";
import type { Pool } from "pg";

/** Rows as the POS writes them; every value can be overridden. All ids are returned. */

export async function addStore(
  pool: Pool,
  store: { nombre?: string; isActive?: boolean; settings?: Record<string, unknown> } = {},
): Promise<string> {
  const id = randomUUID();
  await pool.query(
    "insert into public.tiendas (id, nombre, rubro, is_active) values ($1, $2, 'almacen', $3)",
    [id, store.nombre ?? "Almacén de prueba", store.isActive ?? true],
  );
  if (store.settings) await setSettings(pool, id, store.settings);
  return id;
}

/** Columns of nexus_engine.store_settings. */
export async function setSettings(
  pool: Pool,
  tiendaId: string,
  settings: Record<string, unknown>,
): Promise<void> {
  const columns = Object.keys(settings);
  await pool.query(
    `insert into nexus_engine.store_settings (tienda_id, ${columns.join(", ")})
     values ($1, ${columns.map((_, i) => `$${i + 2}`).join(", ")})
     on conflict (tienda_id) do update set ${columns.map((c) => `${c} = excluded.${c}`).join(", ")}`,
    [tiendaId, ...Object.values(settings)],
  );
}

export async function addUser(
  pool: Pool,
  tiendaId: string,
  user: { email?: string; rol?: string; isActive?: boolean } = {},
): Promise<string> {
  const id = randomUUID();
  await pool.query(
    `insert into public.users (id, email, hashed_password, full_name, rol, is_active, tienda_id)
     values ($1, $2, 'x', 'Persona de prueba', $3, $4, $5)`,
    [id, user.email ?? `${id}@example.com`, user.rol ?? "owner", user.isActive ?? true, tiendaId],
  );
  return id;
}

export async function addProduct(
  pool: Pool,
  tiendaId: string,
  product: {
    nombre?: string;
    sku?: string;
    stock?: number | string;
    tipo?: string;
    isActive?: boolean;
    precioVenta?: number | string;
    precioCosto?: number | string;
  } = {},
): Promise<string> {
  const id = randomUUID();
  await pool.query(
    `insert into public.productos (id, nombre, sku, precio_venta, precio_costo, stock_actual, tipo, is_active, tienda_id)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    [
      id,
      product.nombre ?? "Yerba 1 kg",
      product.sku ?? `SKU-${id.slice(0, 8)}`,
      product.precioVenta ?? 100,
      product.precioCosto ?? 60,
      product.stock ?? 50,
      product.tipo ?? "general",
      product.isActive ?? true,
      tiendaId,
    ],
  );
  return id;
}

export async function setStock(
  pool: Pool,
  productoId: string,
  stock: number | string,
): Promise<void> {
  await pool.query("update public.productos set stock_actual = $2 where id = $1", [
    productoId,
    stock,
  ]);
}

/** A ticket of `total` pesos; with `lines` also its detalles_venta. created_at follows fecha. */
export async function addSale(
  pool: Pool,
  tiendaId: string,
  sale: {
    fecha: string | Date;
    total?: number | string;
    metodoPago?: string;
    statusPago?: string;
    createdAt?: string | Date;
    lines?: { productoId: string; cantidad: number; precio: number }[];
  },
): Promise<string> {
  const id = randomUUID();
  const lines = sale.lines ?? [];
  const total = sale.total ?? lines.reduce((sum, line) => sum + line.cantidad * line.precio, 0);
  await pool.query(
    `insert into public.ventas (id, fecha, total, metodo_pago, status_pago, created_at, tienda_id)
     values ($1, $2, $3, $4, $5, $6, $7)`,
    [
      id,
      sale.fecha,
      total,
      sale.metodoPago ?? "efectivo",
      sale.statusPago ?? "pagado",
      sale.createdAt ?? sale.fecha,
      tiendaId,
    ],
  );
  for (const line of lines) {
    await pool.query(
      `insert into public.detalles_venta (id, cantidad, precio_unitario, subtotal, venta_id, producto_id)
       values ($1, $2, $3, $4, $5, $6)`,
      [randomUUID(), line.cantidad, line.precio, line.cantidad * line.precio, id, line.productoId],
    );
  }
  return id;
}

export type ReconcileRow = {
  tipo: string;
  inserted: number;
  updated: number;
  archived: number;
  failed: number;
};

/** Runs the real reconciler as the worker's role would. */
export async function reconcile(
  pool: Pool,
  tiendas: string[],
  asOf: string | Date,
  tipos: string[] | null = null,
): Promise<ReconcileRow[]> {
  const { rows } = await pool.query<ReconcileRow>(
    "select * from nexus_engine.reconcile($1, $2, $3)",
    [tipos, tiendas, asOf],
  );
  return rows;
}

export type Finding = {
  tienda_id: string;
  subject: string;
  nivel_urgencia: string;
  mensaje: string;
  extra_data: Record<string, unknown>;
};

/** What an insight function says, with stock_watch up to date as the reconciler keeps it. */
export async function findings(
  pool: Pool,
  tipo: string,
  tiendas: string[],
  asOf: string | Date = new Date(),
): Promise<Finding[]> {
  await pool.query("select nexus_engine.update_stock_watch($1, $2)", [tiendas, asOf]);
  const { rows } = await pool.query<Finding>(
    `select * from nexus_engine.insight_${tipo.toLowerCase()}($1, $2)`,
    [tiendas, asOf],
  );
  return rows;
}

/** Ids of what belongs to a store, and its own: what nobody else may see. */
export async function idsOf(db: Pool, tienda: string): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(
    `select id from public.tiendas where id = $1
     union all select id from public.users where tienda_id = $1
     union all select id from public.productos where tienda_id = $1
     union all select id from public.ventas where tienda_id = $1
     union all select id from public.insights where tienda_id = $1
     union all select id from nexus_engine.refresh_request where tienda_id = $1`,
    [tienda],
  );
  return rows.map(({ id }) => id);
}
