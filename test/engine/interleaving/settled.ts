import assert from "node:assert/strict";
import type { Pool, PoolClient } from "pg";
import { rollUp, rollupRows, rowsOfTickets } from "../../support/rollups.ts";

/**
 * What must hold once nothing is under way and the periodic tasks have run, whatever happened before:
 * alerts, stock_watch, open_insight and rollups are what a computation from scratch gives.
 */
export async function assertSettled(
  owner: Pool,
  worker: Pool,
  stores: string[],
  { posWrites = false } = {},
): Promise<void> {
  await assertStock(owner, stores);
  await assertAlerts(owner, stores);
  await assertPeriodsOnce(owner, stores, posWrites);
  await assertPeriodsTrue(owner, stores);
  await assertRollups(owner, worker);
}

type Alert = { tienda: string; tipo: string; producto: string; nivel: string };

/** The alerts of these stores, worked out here from the POS's rows and the settings. */
async function expectedAlerts(
  owner: Pool,
  stores: string[],
): Promise<{ low: string[]; alerts: Alert[] }> {
  const { rows } = await owner.query(
    `select p.id, p.tienda_id, p.stock_actual, p.is_active, s.low_stock_threshold, s.critical_threshold,
       s.muted_types, ps.min_stock
     from public.productos p
     left join nexus_engine.store_settings s on s.tienda_id = p.tienda_id
     left join nexus_engine.product_settings ps on ps.producto_id = p.id
     where p.tienda_id = any ($1)`,
    [stores],
  );
  const low: string[] = [];
  const alerts: Alert[] = [];
  for (const row of rows) {
    const stock = Number(row.stock_actual);
    if (!row.is_active || !Number.isFinite(stock)) continue;
    const threshold = Number(row.min_stock ?? row.low_stock_threshold ?? 10);
    const critical = Number(row.critical_threshold ?? 3);
    const out = stock <= 0;
    if (!out && stock > threshold) continue;
    low.push(`${row.id} ${out}`);
    const tipo = out ? "PRODUCTO_SIN_STOCK" : "STOCK_BAJO";
    if ((row.muted_types ?? []).includes(tipo)) continue;
    let nivel = "MEDIA";
    if (out || stock <= threshold / 2) nivel = "ALTA";
    if (!out && stock <= critical) nivel = "CRITICA";
    alerts.push({ tienda: row.tienda_id, tipo, producto: row.id, nivel });
  }
  return { low: low.sort(), alerts };
}

async function assertStock(owner: Pool, stores: string[]): Promise<void> {
  const { low } = await expectedAlerts(owner, stores);
  const { rows: watched } = await owner.query(
    "select producto_id || ' ' || is_out as row from nexus_engine.stock_watch where tienda_id = any ($1) order by 1",
    [stores],
  );
  assert.deepEqual(watched.map(({ row }) => row).sort(), low, "stock_watch");
  const { rows: out } = await owner.query(
    "select producto_id, back_at < out_since as wrong from nexus_engine.stock_out where tienda_id = any ($1) and (back_at is null or back_at < out_since)",
    [stores],
  );
  assert.deepEqual(
    out.map((row) => `${row.producto_id} ${row.wrong === null}`).sort(),
    low.filter((row) => row.endsWith(" true")),
    "stock_out",
  );
}

const openAlerts = `
  select o.tienda_id, o.tipo, o.subject, i.id is not null as exists, coalesce(i.is_active, false) as shown,
    i.extra_data ? 'resuelto_at' as resolved, o.nivel_urgencia::text as shown_nivel,
    f.nivel_urgencia as nivel, f.subject is not null as found,
    (i.mensaje, i.extra_data, i.nivel_urgencia::text, o.nivel_urgencia::text)
      is not distinct from (f.mensaje, f.extra_data, f.nivel_urgencia, f.nivel_urgencia) as up_to_date,
    nexus_engine.urgencia_rank(f.nivel_urgencia) < nexus_engine.urgencia_rank(o.nivel_urgencia) as worse
  from nexus_engine.open_insight o
  join nexus_engine.insight_type t on t.tipo = o.tipo and t.kind = 'state'
  left join public.insights i on i.id = o.insight_id
  left join (
    select 'STOCK_BAJO' as tipo, f.* from nexus_engine.insight_stock_bajo($1, now()) f
    union all select 'PRODUCTO_SIN_STOCK', f.* from nexus_engine.insight_producto_sin_stock($1, now()) f
  ) f on f.tienda_id = o.tienda_id and f.tipo = o.tipo and f.subject = o.subject
  where o.tienda_id = any ($1)
    -- What was dismissed of a product that is gone is remembered, until that is proved.
    and not (not coalesce(i.is_active, false) and not exists (
      select from public.productos p where p.id::text = o.subject))`;

async function assertAlerts(owner: Pool, stores: string[]): Promise<void> {
  const { alerts } = await expectedAlerts(owner, stores);
  const { rows } = await owner.query(openAlerts, [stores]);
  assert.deepEqual(
    rows.map((row) => `${row.tienda_id} ${row.tipo} ${row.subject} ${row.nivel}`).sort(),
    alerts.map((a) => `${a.tienda} ${a.tipo} ${a.producto} ${a.nivel}`).sort(),
    "open_insight",
  );
  for (const row of rows) {
    // Shown as it is; or hidden by the owner, and no worse than what he hid.
    if (row.shown) assert.equal(row.up_to_date, true, JSON.stringify(row));
    else assert.deepEqual([row.worse, row.resolved ?? false], [false, false], JSON.stringify(row));
  }
  const { rows: stray } = await owner.query(
    `select i.tipo, i.extra_data from public.insights i
     join nexus_engine.insight_type t on t.tipo = i.tipo and t.kind = 'state'
     where i.is_active and i.tienda_id = any ($1)
       and not exists (select from nexus_engine.open_insight o where o.insight_id = i.id and o.tienda_id = i.tienda_id)`,
    [stores],
  );
  assert.deepEqual(stray, [], "active insights that the engine does not know");
  assert.deepEqual(await fromScratch(owner, stores), rows.map(asLine).sort());
}

const asLine = (row: { tienda_id: string; tipo: string; subject: string; nivel: string }) =>
  `${row.tienda_id} ${row.tipo} ${row.subject} ${row.nivel}`;

/** The alerts that the engine would open if it had never run. Undone afterwards. */
async function fromScratch(owner: Pool, stores: string[]): Promise<string[]> {
  return rolledBack(owner, async (client) => {
    for (const table of ["open_insight", "stock_watch", "stock_told", "stock_out", "stock_event"]) {
      await client.query(`delete from nexus_engine.${table}`);
    }
    await client.query("delete from public.insights");
    await client.query("select nexus_engine.check_stock_watch($1, now())", [stores]);
    await client.query("select nexus_engine.reconcile(null, $1, now())", [stores]);
    const { rows } = await client.query(openAlerts, [stores]);
    for (const row of rows) assert.deepEqual([row.shown, row.up_to_date], [true, true]);
    return rows.map(asLine).sort();
  });
}

/** @param posWrites summaries as well, of which one that is adopted says what the one that it replaced has said. */
async function assertPeriodsOnce(owner: Pool, stores: string[], posWrites: boolean): Promise<void> {
  const { rows } = await owner.query(
    `select tienda_id, tipo, coalesce(extra_data ->> 'fecha', extra_data ->> 'semana_desde') as period, count(*)::int
     from public.insights where tienda_id = any ($1) and tipo like 'VENTAS%'
       -- Those of the POS itself name none.
       and extra_data ?| array['fecha', 'semana_desde'] and (is_active or not $2)
     group by 1, 2, 3 having count(*) > 1`,
    [stores, posWrites],
  );
  assert.deepEqual(rows, [], "summaries told twice");
  const { rows: active } = await owner.query(
    `select tienda_id, tipo, count(*)::int from public.insights
     where tienda_id = any ($1) and tipo like 'VENTAS%' and is_active group by 1, 2 having count(*) > 1`,
    [stores],
  );
  assert.deepEqual(active, [], "more than the last summary is active");
}

/**
 * The summaries that are kept true say what their types say now. Not those that were told or ended a moment ago,
 * whose last changes leave no mark; nor those of a day that runs and whose summary time was changed since.
 */
async function assertPeriodsTrue(owner: Pool, stores: string[]): Promise<void> {
  const { rows } = await owner.query(
    `select p.tienda_id, p.tipo, p.subject, i.mensaje as told, f.mensaje as expected
     from (
       select 'VENTAS_DIARIAS' as tipo, d.* from nexus_engine.store_periods('day', $1, now(), '{0,1,2}') d
       union all
       select 'VENTAS_SEMANALES', w.* from nexus_engine.store_periods('week', $1, now(), '{0}') w
     ) p
     cross join lateral (select p.ends_at <= now() as has_ended) e
     join nexus_engine.open_insight o
       on o.tienda_id = p.tienda_id and o.tipo = p.tipo and o.subject = p.subject
     left join public.insights i on i.id = o.insight_id
     left join lateral (
       select f.* from nexus_engine.insight_ventas_diarias(
         array[p.tienda_id], case when e.has_ended then p.ends_at else p.announced_at end) f
       where p.tipo = 'VENTAS_DIARIAS' and f.subject = p.subject
       union all
       select f.* from nexus_engine.insight_ventas_semanales(array[p.tienda_id], p.announced_at) f
       where p.tipo = 'VENTAS_SEMANALES' and f.subject = p.subject
     ) f on true
     where p.announced_at < now() - interval '16 minutes'
       and p.ends_at not between now() - interval '16 minutes' and now()
       and (e.has_ended or i.extra_data ->> 'vendido_hasta' = nexus_engine.iso_utc(p.announced_at))
       -- The owner deleted it.
       and not (o.insight_id is not null and i.id is null)
       and case when f.mensaje is null
         -- What the POS says of its last 24 hours stays while there is nothing of ours.
         then i.id is not null and not i.extra_data ?| array['resuelto_at', 'periodo_horas']
         else (i.mensaje, i.extra_data) is distinct from (f.mensaje, f.extra_data) end`,
    [stores],
  );
  assert.deepEqual(rows, [], "summaries that are not true any more");
}

async function assertRollups(owner: Pool, worker: Pool): Promise<void> {
  const { rowCount } = await owner.query("select from nexus_engine.sale_mark");
  assert.equal(rowCount, 0, "marks are left");
  const rows = await rollupRows(owner);
  assert.deepEqual(rows, await rowsOfTickets(owner), "rollups");
  for (const table of ["rollup_state", "store_day", "store_hour", "method_day", "product_day"]) {
    await owner.query(`delete from nexus_engine.${table}`);
  }
  await rollUp(worker);
  assert.deepEqual(await rollupRows(owner), rows, "rollups from scratch");
}

/**
 * What the readers of rollups say of one store beside its tickets, in one snapshot while others
 * write: the same.
 */
export async function assertReadsExact(owner: Pool, store: string): Promise<void> {
  await rolledBack(owner, async (client) => {
    await client.query("set transaction isolation level repeatable read read only");
    const { rows } = await client.query<{ differs: string }>(
      `with days as (
         select s.*, (now() at time zone s.time_zone)::date - 6 as first, (now() at time zone s.time_zone)::date as last
         from nexus_engine.store s where s.tienda_id = $1
       ),
       ticket as materialized (
         select v.*, nexus_engine.latest_local_day(d.day_starts_at, d.time_zone, v.fecha) as day,
           extract(hour from v.fecha at time zone d.time_zone)::int as hour,
           case when t.status_pago = 'pendiente' and t.metodo_pago <> 'efectivo' then v.total else 0 end as pending
         from days d join nexus_engine.sale v on v.tienda_id = d.tienda_id
         join public.ventas t on t.id = v.id
         where v.fecha >= nexus_engine.local_instant(d.first, d.day_starts_at, d.time_zone)
           and v.fecha < least(now(), nexus_engine.local_instant(d.last + 1, d.day_starts_at, d.time_zone))
       ),
       told as (
         select concat_ws(' ', 'day', r.day, r.total::float8, r.tickets, r.unusable, r.pending::float8, r.refunds, r.refunded::float8) as row
         from days d cross join nexus_engine.sold_by_day_v2($1, d.first, d.last, now()) r
         where (r.total, r.tickets, r.unusable) <> (0, 0, 0)
         union all select concat_ws(' ', 'hour', r.hour, r.total::float8, r.tickets)
         from days d cross join nexus_engine.sold_by_hour($1, d.first, d.last, now()) r
         union all select concat_ws(' ', 'method', r.metodo_pago, r.total::float8, r.tickets, r.pending::float8)
         from days d cross join nexus_engine.sold_by_method_v2($1, d.first, d.last, now()) r
         union all select concat_ws(' ', 'product', r.producto_id, r.units::float8, r.revenue::float8, r.tickets)
         from days d cross join nexus_engine.sold_by_product($1, d.first, d.last, now()) r
       ),
       actual as (
         select concat_ws(' ', 'day', day, coalesce(sum(total), 0)::float8, count(total), count(*) - count(total),
           coalesce(sum(pending), 0)::float8, count(*) filter (where total < 0), coalesce(sum(greatest(-total, 0)), 0)::float8) as row
         from ticket group by day
         union all select concat_ws(' ', 'hour', hour, sum(total)::float8, count(*)) from ticket where total is not null group by hour
         union all select concat_ws(' ', 'method', metodo_pago, sum(total)::float8, count(*), sum(pending)::float8) from ticket where total is not null group by metodo_pago
         union all
         select concat_ws(' ', 'product', l.producto_id, sum(nexus_engine.quantity(l.cantidad))::float8, sum(nexus_engine.money(l.subtotal))::float8, count(distinct t.id))
         from ticket t join public.detalles_venta l on l.venta_id = t.id
         where t.total is not null and nexus_engine.quantity(l.cantidad) is not null and nexus_engine.money(l.subtotal) is not null
         group by l.producto_id
       )
       (select 'told: ' || row as differs from told except all select 'told: ' || row from actual)
       union all (select 'tickets: ' || row from actual except all select 'tickets: ' || row from told)`,
      [store],
    );
    assert.deepEqual(rows, [], "what the readers of rollups say, and what the tickets do");
  });
}

async function rolledBack<T>(owner: Pool, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await owner.connect();
  try {
    await client.query("begin");
    return await work(client);
  } finally {
    await client.query("rollback");
    client.release();
  }
}
