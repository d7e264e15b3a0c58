import { randomUUID } from "node:crypto";
import type { Pool, PoolClient } from "pg";

type Product = { id: string; nombre: string; sku: string; stock_actual: number };

/** The POS's own insight endpoints, as the statements that they send: each commits where the POS does. */
export class PosInsights {
  readonly #pool: Pool;
  readonly #store: string;

  constructor(pool: Pool, store: string) {
    this.#pool = pool;
    this.#store = store;
  }

  /**
   * POST /insights/refresh. `between` runs after each of its commits. Returns how many it wrote; fails as the
   * POS does, with a 500, where it meets two active insights of one type and product.
   */
  async refresh({
    force = false,
    at = new Date(),
    between = async () => {},
  }: {
    force?: boolean;
    at?: Date;
    between?: () => Promise<void>;
  } = {}): Promise<number> {
    if (force) {
      await this.#transaction(async (client) => {
        const { rows } = await client.query<{ id: string }>(
          "select id, tipo, mensaje, nivel_urgencia, is_active, extra_data, created_at, tienda_id from insights where tienda_id = $1 and is_active = true",
          [this.#store],
        );
        for (const { id } of rows) {
          await client.query("update insights set is_active = $1 where insights.id = $2", [
            false,
            id,
          ]);
        }
      });
      await between();
    }
    const low = await this.#transaction((client) => this.#tellLow(client, at));
    await between();
    const out = await this.#transaction((client) => this.#tellOut(client, at));
    await between();
    const sales = await this.#transaction((client) => this.#tellSales(client, at));
    await between();
    return low + out + sales;
  }

  /** POST /insights/{id}/dismiss */
  async dismiss(id: string): Promise<void> {
    await this.#transaction(async (client) => {
      const { rows } = await client.query(
        "select id, is_active from insights where id = $1 and tienda_id = $2",
        [id, this.#store],
      );
      if (rows[0]?.is_active) {
        await client.query("update insights set is_active = false where insights.id = $1", [id]);
      }
    });
  }

  /** DELETE /insights/clear-all */
  async clearAll(onlyArchived = false): Promise<void> {
    await this.#transaction(async (client) => {
      const { rows } = await client.query<{ id: string }>(
        `select id from insights where tienda_id = $1 ${onlyArchived ? "and is_active = false" : ""}`,
        [this.#store],
      );
      for (const { id } of rows) await client.query("delete from insights where id = $1", [id]);
    });
  }

  async #tellLow(client: PoolClient, at: Date): Promise<number> {
    const { rows } = await client.query<Product>(
      "select * from productos where tienda_id = $1 and stock_actual <= 10 and is_active = true",
      [this.#store],
    );
    let told = 0;
    for (const product of rows) {
      if (await this.#stands(client, "STOCK_BAJO", at, 24, product.id)) continue;
      const { stock_actual } = product;
      await this.#insert(
        client,
        "STOCK_BAJO",
        `📊 Te quedan pocas unidades de '${product.nombre}' (SKU: ${product.sku}). Stock actual: ${Math.trunc(stock_actual)} unidades. ¡Reponé pronto!`,
        stock_actual <= 3 ? "CRITICA" : stock_actual <= 5 ? "ALTA" : "MEDIA",
        { ...named(product), stock_actual, umbral: 10 },
        at,
      );
      told += 1;
    }
    return told;
  }

  async #tellOut(client: PoolClient, at: Date): Promise<number> {
    const { rows } = await client.query<Product>(
      "select * from productos where tienda_id = $1 and stock_actual = 0 and is_active = true",
      [this.#store],
    );
    let told = 0;
    for (const product of rows) {
      if (await this.#stands(client, "PRODUCTO_SIN_STOCK", at, 24, product.id)) continue;
      await this.#insert(
        client,
        "PRODUCTO_SIN_STOCK",
        `🔴 ¡'${product.nombre}' (SKU: ${product.sku}) está AGOTADO! Stock: 0 unidades.`,
        "ALTA",
        named(product),
        at,
      );
      told += 1;
    }
    return told;
  }

  async #tellSales(client: PoolClient, at: Date): Promise<number> {
    const from = new Date(at.getTime() - 24 * 3_600_000);
    const { rows } = await client.query<{ total_vendido: number | null; cantidad_ventas: number }>(
      `select sum(total) as total_vendido, count(id)::int as cantidad_ventas from ventas
       where tienda_id = $1 and fecha >= $2 and status_pago = 'pagado'`,
      [this.#store, from],
    );
    const { total_vendido = 0, cantidad_ventas = 0 } = rows[0] ?? {};
    if (cantidad_ventas === 0 || (await this.#stands(client, "VENTAS_DIARIAS", at, 6))) return 0;
    await this.#insert(
      client,
      "VENTAS_DIARIAS",
      `👍 Buen día de ventas. Hoy facturaste $${total_vendido} en ${cantidad_ventas} ventas.`,
      "BAJA",
      { total_vendido, cantidad_ventas, periodo_horas: 24, fecha_desde: from.toISOString() },
      at,
    );
    return 1;
  }

  async #stands(client: PoolClient, tipo: string, at: Date, hours: number, product?: string) {
    const { rows } = await client.query(
      `select id from insights where tienda_id = $1 and tipo = $2 and is_active = true and created_at >= $3
       ${product ? "and (extra_data ->> 'producto_id') = $4" : ""}`,
      [
        this.#store,
        tipo,
        new Date(at.getTime() - hours * 3_600_000),
        ...(product ? [product] : []),
      ],
    );
    if (rows.length > 1) throw new Error("Multiple rows were found when one or none was required");
    return rows.length === 1;
  }

  async #insert(
    client: PoolClient,
    tipo: string,
    mensaje: string,
    urgencia: string,
    extra: Record<string, unknown>,
    at: Date,
  ): Promise<void> {
    await client.query(
      `insert into insights (id, tipo, mensaje, nivel_urgencia, is_active, extra_data, created_at, tienda_id)
       values ($1, $2, $3, $4, true, $5, $6, $7)`,
      [randomUUID(), tipo, mensaje, urgencia, extra, at, this.#store],
    );
  }

  async #transaction<T>(run: (client: PoolClient) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect();
    try {
      await client.query("begin");
      const result = await run(client);
      await client.query("commit");
      return result;
    } catch (error) {
      await client.query("rollback");
      throw error;
    } finally {
      client.release();
    }
  }
}

function named(product: Product): Record<string, unknown> {
  return {
    producto_id: product.id,
    producto_nombre: product.nombre,
    producto_sku: product.sku,
  };
}
