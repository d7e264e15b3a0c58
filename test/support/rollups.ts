import assert from "node:assert/strict";
import type { Pool, PoolClient } from "pg";

/** Runs roll_up as the worker does, until it finds nothing more to do. */
export async function rollUp(pool: Pool): Promise<{ stores: number; changed: number }> {
  const total = { stores: 0, changed: 0 };
  await pool.query("select nexus_engine.note_horizon()");
  for (;;) {
    const { rows } = await pool.query("select * from nexus_engine.roll_up_batch(100, '{}')");
    if (!rows[0].stores) return total;
    total.stores += rows[0].stores;
    total.changed += rows[0].changed;
  }
}

/** Every row of every rollup up to the day to which its store is rolled up. */
export async function rollupRows(pool: Pool | PoolClient): Promise<string[]> {
  const { rows } = await pool.query<{ row: string }>(`
    select concat_ws(' ', tipo, tienda_id, day, key, total::float8, tickets, unusable, pending::float8, refunds, refunded::float8) as row
    from (
      select 'day' as tipo, tienda_id, day, null as key, total, tickets, unusable, pending, refunds, refunded
      from nexus_engine.store_day
      union all
      select 'hour', tienda_id, day, hour::text, total, tickets, null, null, null, null from nexus_engine.store_hour
      union all
      select 'method', tienda_id, day, metodo_pago, total, tickets, null, pending, null, null
      from nexus_engine.method_day
      union all
      select 'product', tienda_id, day, producto_id || ' ' || units::float8, revenue, tickets, null, null, null, null
      from nexus_engine.product_day
    ) r
    order by row`);
  return rows.map(({ row }) => row);
}

/**
 * The same rows, computed from the tickets one by one: each is put into the day that its own date
 * says, where roll_up looks for the tickets of a day.
 */
export async function rowsOfTickets(pool: Pool | PoolClient): Promise<string[]> {
  const { rows } = await pool.query<{ row: string }>(`
    with ticket as materialized (
      select v.*, d.day, extract(hour from v.fecha at time zone s.time_zone) as hour,
        case when t.status_pago = 'pendiente' and t.metodo_pago <> 'efectivo' then v.total else 0 end as pending
      from nexus_engine.sale v
      join public.ventas t on t.id = v.id
      join nexus_engine.store s on s.tienda_id = v.tienda_id
      join nexus_engine.rollup_state r on r.tienda_id = v.tienda_id
      cross join lateral (
        select case when v.fecha between '1900-01-02' and '2100-01-01'
          then nexus_engine.latest_local_day(s.day_starts_at, s.time_zone, v.fecha) end as day
      ) d
      where d.day <= r.through
    ),
    line as (
      select t.*, l.producto_id, nexus_engine.quantity(l.cantidad) as units, nexus_engine.money(l.subtotal) as revenue
      from ticket t join public.detalles_venta l on l.venta_id = t.id
    )
    select concat_ws(' ', tipo, tienda_id, day, key, total::float8, tickets, unusable, pending::float8, refunds, refunded::float8) as row
    from (
      select 'day' as tipo, tienda_id, day, null as key, coalesce(sum(total), 0) as total, count(total) as tickets,
        count(*) - count(total) as unusable, coalesce(sum(pending), 0) as pending,
        count(*) filter (where total < 0) as refunds, coalesce(sum(greatest(-total, 0)), 0) as refunded
      from ticket group by tienda_id, day
      union all
      select 'hour', tienda_id, day, hour::text, sum(total), count(*), null, null, null, null
      from ticket where total is not null group by tienda_id, day, hour
      union all
      select 'method', tienda_id, day, metodo_pago, sum(total), count(*), null, sum(pending), null, null
      from ticket where total is not null group by tienda_id, day, metodo_pago
      union all
      select 'product', tienda_id, day, producto_id || ' ' || sum(units)::float8, sum(revenue), count(distinct id), null,
        null, null, null
      from line where total is not null and units is not null and revenue is not null
      group by tienda_id, day, producto_id
    ) r
    order by row`);
  return rows.map(({ row }) => row);
}

/** Everything that reads rollups, for one store. */
async function reports(client: PoolClient, tienda: string, asOf: Date): Promise<unknown> {
  const { rows } = await client.query(
    `select nexus_engine.sales_by_day($1, null, null, $2) as days,
       nexus_engine.sales_by_day($1, ($2::date - 5), ($2::date - 2), $2) as past,
       nexus_engine.sales_by_hour($1, null, null, $2) as hours,
       nexus_engine.sales_summary($1, null, null, $2) as summary,
       nexus_engine.sales_by_payment_method($1, null, null, $2) as methods,
       array(select p from nexus_engine.top_productos($1, null, null, 'REVENUE', $2) p) as products,
       array(select p from nexus_engine.profitability($1, ($2::date - 3), null, 'UNITS', $2) p) as earned,
       array(select f from nexus_engine.insight_ventas_diarias(array[$1::uuid], $2) f) as daily,
       array(
         select f from nexus_engine.store_period('day', array[$1::uuid], $2, 1) d
         cross join lateral nexus_engine.insight_ventas_diarias(array[$1::uuid], d.ends_at) f) as yesterday,
       array(select f from nexus_engine.insight_ventas_semanales(array[$1::uuid], $2) f) as weekly`,
    [tienda, asOf],
  );
  return rows[0];
}

/** Asserts that the reports say the same with the rollups, in whatever state, as without any. */
export async function assertReportsExact(pool: Pool, tiendas: string[], asOf: Date): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query("begin isolation level repeatable read");
    const withRollups = [];
    for (const tienda of tiendas) withRollups.push(await reports(client, tienda, asOf));
    await client.query("delete from nexus_engine.rollup_state");
    const withTickets = [];
    for (const tienda of tiendas) withTickets.push(await reports(client, tienda, asOf));
    assert.deepEqual(withRollups, withTickets);
  } finally {
    await client.query("rollback");
    client.release();
  }
}
