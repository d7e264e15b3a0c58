import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";

type Count = { count: number };

async function count(client: Client, text: string): Promise<number> {
  const { rows } = await client.query<Count>(
    `select count(*)::int as count from (${text}) counted`,
  );
  return rows[0]?.count ?? -1;
}

/** Lets the workers come to rest: what waits for a back-off is brought forward. */
export async function settle(client: Client, limitMs: number): Promise<void> {
  await client.query("select graphile_worker.add_job('generate_all_insights', max_attempts => 5)");
  await client.query("select graphile_worker.add_job('roll_up', max_attempts => 5)");
  const end = performance.now() + limitMs;
  for (;;) {
    await client.query(`select graphile_worker.reschedule_jobs(array(
      select id from graphile_worker.jobs where run_at > now() and attempts < max_attempts), run_at => now())`);
    const { rows: left } = await client.query(
      `select 'job' as what, to_json(j) as row from graphile_worker.jobs j where attempts < max_attempts or locked_at is not null
       union all select 'event', to_json(e) from nexus_engine.stock_event e
       union all select 'run', to_json(r) from nexus_engine.job_run r
       where r.job_id in (select open.job_id from nexus_engine.job_run open where open.finished_at is null)
       union all select 'worker', to_json(w) from nexus_engine.worker_pool w`,
    );
    if (left.every(({ what }) => what === "worker")) return;
    assert.ok(performance.now() < end, `not at rest: ${JSON.stringify(left, null, 1)}`);
    await sleep(250);
  }
}

export type Verdict = Record<string, number>;

/** What must be so when all is at rest; each figure is how many are not as they should be. */
const faults: Record<string, string> = {
  "jobs locked": "select from graphile_worker.jobs where locked_at is not null",
  "jobs failed for good, poison aside": `
    select from graphile_worker.jobs j where attempts >= max_attempts
      and not exists (select from nexus_engine.job_run r where r.job_id = j.id and r.error_code = 'POISON')`,
  "attempts not ended": "select from nexus_engine.job_run where finished_at is null",
  "jobs done twice": `
    select job_id from nexus_engine.job_run where outcome = 'succeeded' group by job_id having count(*) > 1`,
  "attempts that ran beside another of their job": `
    select from (
      select started_at, lag(finished_at) over (partition by job_id order by id) as before from nexus_engine.job_run
    ) r where started_at < before`,
  "jobs that ended without success, nor were replaced by a newer one": `
    select from (select distinct on (job_id) * from nexus_engine.job_run order by job_id, id desc) r
    where outcome <> 'succeeded' and error_code is distinct from 'POISON'
      and error_message not like '%; a newer job has replaced it'`,
  "refresh requests not ended":
    "select from nexus_engine.refresh_request where status in ('queued', 'running')",
  "events in the outbox": "select from nexus_engine.stock_event",
  "alerts that are not what a recomputation says": `
    with found as (
      select f.tienda_id, 'STOCK_BAJO' as tipo, f.subject, f.nivel_urgencia::text, f.mensaje::text
      from nexus_engine.insight_stock_bajo(array(select id from public.tiendas), now()) f
      union all
      select f.tienda_id, 'PRODUCTO_SIN_STOCK', f.subject, f.nivel_urgencia::text, f.mensaje::text
      from nexus_engine.insight_producto_sin_stock(array(select id from public.tiendas), now()) f
    ),
    shown as (
      select i.tienda_id, i.tipo::text, i.extra_data ->> 'producto_id' as subject, i.nivel_urgencia::text, i.mensaje::text
      from public.insights i where i.is_active and i.tipo in ('STOCK_BAJO', 'PRODUCTO_SIN_STOCK')
    )
    (select * from found except all select * from shown) union all (select * from shown except all select * from found)`,
  "stores whose last business day has no summary": `
    select from nexus_engine.store_period('day', array(select id from public.tiendas), now() - interval '35 seconds') p
    where not exists (
      select from public.insights i
      where i.tienda_id = p.tienda_id and i.tipo = 'VENTAS_DIARIAS' and i.extra_data ->> 'fecha' = p.subject)`,
  "summaries told twice": `
    select from public.insights where tipo in ('VENTAS_DIARIAS', 'VENTAS_SEMANALES')
    group by tienda_id, tipo, coalesce(extra_data ->> 'fecha', extra_data ->> 'semana_desde') having count(*) > 1`,
  "days that ended and were not completed": `
    select from public.insights i
    where i.tipo = 'VENTAS_DIARIAS' and (i.extra_data ->> 'fecha_hasta')::timestamptz < now() - interval '35 seconds'
      and not (i.extra_data ->> 'dia_completo')::boolean`,
  "summaries with a wrong total": `
    select from public.insights i
    where i.tipo = 'VENTAS_DIARIAS' and (i.extra_data ->> 'total_vendido')::numeric is distinct from (
      select sum(v.total)::numeric from public.ventas v
      where v.tienda_id = i.tienda_id and v.fecha >= (i.extra_data ->> 'fecha_desde')::timestamptz
        and v.fecha < (i.extra_data ->> 'vendido_hasta')::timestamptz)`,
  "products that stock_watch has wrong": `
    select from public.tiendas t
    cross join lateral generate_series(1, nexus_engine.check_stock_watch(array[t.id], now()))`,
  "rollups that a recomputation changes": `
    select from public.tiendas t cross join lateral nexus_engine.rebuild_rollups(t.id)`,
};

/** Counts what is wrong, by what is wrong. */
export async function judge(client: Client): Promise<Verdict> {
  const verdict: Verdict = {};
  for (const [fault, text] of Object.entries(faults)) {
    verdict[fault] = await count(client, text);
  }
  return verdict;
}

/** How the attempts ended, by outcome, and what was done. */
export async function tally(client: Client): Promise<Record<string, number>> {
  const { rows } = await client.query<{ what: string; count: number }>(`
    select 'attempts ' || outcome as what, count(*)::int as count from nexus_engine.job_run group by outcome
    union all select 'jobs set aside as poison', count(*)::int from nexus_engine.job_run where error_code = 'POISON'
    union all select 'insights of ' || tipo, count(*)::int from public.insights group by tipo
    union all
    select 'days told and later completed', count(*)::int from public.insights
    where tipo = 'VENTAS_DIARIAS' and (extra_data ->> 'dia_completo')::boolean
      and created_at < (extra_data ->> 'fecha_hasta')::timestamptz + interval '30 seconds'
    union all select 'refresh requests ' || status, count(*)::int from nexus_engine.refresh_request group by status
    order by 1`);
  return Object.fromEntries(rows.map((row) => [row.what, row.count]));
}
