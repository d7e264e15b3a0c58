import type { Client } from "pg";
import { bytes, count, type Finding, fact, look, type Section, seconds } from "./section.ts";

type Size = { name: string; rows: number; size: string; is_analyzed: boolean };
/** Seconds a million rows on two idle cores, rounded up. */
const perMillion = { check: 2, refresh: 3, rollUp: 20 };

/** How large the POS's tables are, which locks are taken, and what runs after that. */
export async function workSection(client: Client): Promise<Section> {
  const findings = await look(client, "sizes", [], () => sizesAndWork(client));
  return { title: "Sizes, locks and work", findings: [...findings, ...locks] };
}

async function sizesAndWork(client: Client): Promise<Finding[]> {
  const { rows } = await client.query<Size>(
    `select c.relname as name, pg_catalog.pg_total_relation_size(c.oid)::text as size, c.reltuples >= 0 as is_analyzed,
       -- Never counted: as if a row took 100 bytes.
       case when c.reltuples < 0 then pg_catalog.pg_relation_size(c.oid) / 100 else c.reltuples end::float8 as rows
     from pg_catalog.pg_class c
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
       and c.relname in ('productos', 'ventas', 'detalles_venta', 'insights', 'tiendas')
     order by c.relname`,
  );
  const sizes = rows.map(({ name, rows: n, size, is_analyzed }) =>
    fact(
      `${name}: about ${count(Math.round(n))} rows${is_analyzed ? "" : " (a guess: run analyze)"}, ${bytes(size)} with indexes`,
    ),
  );
  const of = (name: string) => (rows.find((row) => row.name === name)?.rows ?? 0) / 1e6;
  const check = seconds(of("productos") * perMillion.check);
  const refresh = seconds(of("productos") * perMillion.refresh + of("insights"));
  const rollUp = seconds((of("ventas") + of("detalles_venta")) * perMillion.rollUp);
  return [
    ...sizes,
    fact(
      `After attaching the worker runs (times as on two idle cores): check_stock, which reads every product (${check}); generate_all_insights, a full pass (${refresh}); roll_up, which sums up all tickets (${rollUp}). They read the POS's tables and write our own and public.insights; the POS waits for none of them.`,
    ),
  ];
}

const locks: Finding[] = [
  fact(
    "To make the triggers: ShareRowExclusiveLock on productos, ventas, detalles_venta and insights, held for some milliseconds. It waits for transactions that write them, and writers wait behind it: hence it is asked for 25 ms at a time, with growing pauses, and given up while the POS is busy; the start goes on without and tries again in the background.",
  ),
  fact(
    "Grants on the POS's tables take no lock on them. No table of the POS's is rewritten, scanned under a lock, or altered.",
  ),
];
