import type { Client } from "pg";

/** What we tell that is not so, once the POS rests and the engine has caught up. All are to be zero. */
export type Audit = Record<string, number>;

export async function audit(owner: Client): Promise<Audit> {
  const { rows: rollups } = await owner.query<{ n: number }>(
    `select count(*)::int as n
     from nexus_engine.check_rollups(array(select id from public.tiendas), date '1900-01-01', 1, 0)`,
  );
  const { rows: alerts } = await owner.query<{ missing: number; stale: number; doubled: number }>(
    `with wanted as (
       select p.id::text as id, case when p.stock_actual <= 0 then 'PRODUCTO_SIN_STOCK' else 'STOCK_BAJO' end as tipo
       from public.productos p where p.is_active and p.stock_actual <= 10
     ),
     told as (
       select i.extra_data ->> 'producto_id' as id, i.tipo, count(*) as times
       from public.insights i
       where i.is_active and i.tipo in ('PRODUCTO_SIN_STOCK', 'STOCK_BAJO')
       group by 1, 2
     )
     select count(*) filter (where t.id is null)::int as missing, count(*) filter (where w.id is null)::int as stale,
       count(*) filter (where t.times > 1)::int as doubled
     from wanted w full join told t on t.id = w.id and t.tipo = w.tipo`,
  );
  return {
    "rows of rollups that are not what the tickets say": rollups[0]?.n ?? Number.NaN,
    "products without the alert that they need": alerts[0]?.missing ?? Number.NaN,
    "products with one that they do not need": alerts[0]?.stale ?? Number.NaN,
    "products with two of one type": alerts[0]?.doubled ?? Number.NaN,
  };
}
