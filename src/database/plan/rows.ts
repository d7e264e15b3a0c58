import type { Client } from "pg";
import type { Attached } from "./attached.ts";
import { count, type Finding, fact, look, note, plural, type Section } from "./section.ts";

/** What the POS's rows would have an owner wonder about. */
export async function rowsSection(client: Client, attached: Attached): Promise<Section> {
  const findings = [
    ...(await look(client, "the POS's own insights", ["insights"], () =>
      insights(client, attached),
    )),
    ...(await look(client, "products", ["productos", "tiendas"], () => products(client))),
    ...(await look(client, "tickets", ["ventas"], () => tickets(client))),
  ];
  if (findings.length === 0) findings.push(fact("None that we know of."));
  return { title: "Rows that may confuse", findings };
}

/** One finding for each count that is not 0. */
async function counted(
  client: Client,
  sql: string,
  say: Record<string, (n: number) => string>,
): Promise<Finding[]> {
  const { rows } = await client.query<Record<string, string>>(sql);
  return Object.entries(say).flatMap(([name, text]) => {
    const n = Number(rows[0]?.[name] ?? 0);
    return n > 0 ? [note(text(n))] : [];
  });
}

/** Ours are those that the engine remembers; before attaching there are none. */
async function insights(client: Client, attached: Attached): Promise<Finding[]> {
  if (attached === "unseen") return [];
  const isOurs =
    attached === "yes"
      ? "exists (select from nexus_engine.open_insight o where o.insight_id = i.id)"
      : "false";
  return counted(
    client,
    `select sum(n_theirs) filter (where tipo in ('STOCK_BAJO', 'PRODUCTO_SIN_STOCK', 'VENTAS_DIARIAS', 'VENTAS_SEMANALES')) as ours,
       count(*) filter (where n > 1 and n_theirs > 0 and producto is not null) as doubled
     from (
       select i.tipo, i.extra_data ->> 'producto_id' as producto, count(*) as n,
         count(*) filter (where not ${isOurs}) as n_theirs
       from public.insights i where i.is_active
       group by i.tienda_id, i.tipo, i.extra_data ->> 'producto_id'
     ) g`,
    {
      ours: (n) =>
        `${plural(n, "insight is", "insights are")} active of types that we write too. ${attached === "yes" ? "With the next full pass" : "After attaching"}, those that say what we find are taken over with their id, the others are archived.`,
      doubled: (n) =>
        `${plural(n, "product has", "products have")} several active insights of one type. One of each stays active; until then the POS's own refresh may fail on them ("Multiple rows were found").`,
    },
  );
}

async function products(client: Client): Promise<Finding[]> {
  return counted(
    client,
    `select count(*) filter (where p.stock_actual < 0) as negative,
       count(*) filter (where not (abs(p.stock_actual) < 1e9)) as no_stock,
       count(*) filter (where not (abs(p.precio_venta) < 1e11 and abs(p.precio_costo) < 1e11)) as no_price,
       count(*) filter (where not p.is_active) as inactive,
       count(*) filter (where p.is_active and not t.is_active) as closed
     from public.productos p left join public.tiendas t on t.id = p.tienda_id`,
    {
      negative: (n) =>
        `${plural(n, "product has", "products have")} negative stock, which counts as out of stock.`,
      no_stock: (n) =>
        `${plural(n, "product has", "products have")} NaN, Infinity or an absurd number as stock: nothing is told of them. Correct stock_actual.`,
      no_price: (n) =>
        `${plural(n, "product has", "products have")} NaN, Infinity or an absurd number as price or cost: left out of values and profits.`,
      inactive: (n) =>
        `${plural(n, "product is", "products are")} inactive: nothing is told of them.`,
      closed: (n) =>
        `${plural(n, "active product belongs", "active products belong")} to inactive stores: nothing is told of those.`,
    },
  );
}

async function tickets(client: Client): Promise<Finding[]> {
  return counted(
    client,
    `select count(*) filter (where not (abs(v.total) < 1e11)) as no_total,
       count(*) filter (where v.fecha > least(v.created_at, timestamptz '9999-12-31 00:00Z') + interval '24 hours') as ahead,
       count(*) filter (where v.status_pago not in ('pagado', 'pendiente', 'anulado')) as no_status,
       count(*) filter (where v.status_pago = 'pendiente'
         and v.metodo_pago not in ('efectivo', 'tarjeta_debito', 'tarjeta_credito', 'transferencia')) as no_method
     from public.ventas v`,
    {
      no_total: (n) =>
        `${plural(n, "ticket has", "tickets have")} NaN, Infinity or an absurd number as total: left out of every sum, and counted in extra_data.filas_excluidas.`,
      ahead: (n) =>
        `${plural(n, "ticket is", "tickets are")} dated more than a day after being written: left out of every sum.`,
      no_status: (n) =>
        `${plural(n, "ticket has", "tickets have")} a status_pago other than pagado, pendiente and anulado: not counted as sales.`,
      no_method: (n) =>
        `${plural(n, "ticket is", "tickets are")} pendiente by a method that no store counts by default: not counted unless countedPendingMethods names it.`,
    },
  );
}

type Clock = { newest: Date | null; ahead: number | null; future: number; off: number | null };

/** How the newest tickets are dated; see sql/engine/pos_clock.sql for what the engine notices later. */
export async function clockSection(client: Client): Promise<Section> {
  const findings = await look(client, "how tickets are dated", ["ventas"], async () => {
    const { rows } = await client.query<Clock>(
      `with newest as (
         select v.fecha, v.created_at from public.ventas v
         where v.fecha < now() + interval '15 hours' order by v.fecha desc limit 200
       )
       select max(n.fecha) as newest, extract(epoch from max(n.fecha) - now())::float8 / 60 as ahead,
         count(*) filter (where n.fecha > now() + interval '10 minutes')::int as future,
         percentile_cont(0.5) within group (order by abs(extract(epoch from n.fecha - n.created_at))) / 60 as off
       from newest n`,
    );
    return dated(rows[0] as Clock);
  });
  return { title: "The POS's clock", findings };
}

function dated({ newest, ahead, future, off }: Clock): Finding[] {
  if (newest === null || ahead === null) return [fact("There is no ticket yet.")];
  if (future > 0) {
    return [
      note(
        `The newest tickets are dated up to ${Math.round(ahead)} minutes in the future (${future === 200 ? "200 or more" : count(future)} of them): today's sales are missing until then. The POS's process most likely runs in a time zone other than UTC: start it with TZ=UTC in its environment.`,
      ),
    ];
  }
  const findings = [fact(`The newest ticket is dated ${newest.toISOString()}, ${ago(-ahead)}.`)];
  if (-ahead > 24 * 60)
    findings.push(note("Nothing was sold for a day: is this the database that the POS uses?"));
  if (off !== null && off > 10) {
    findings.push(
      note(
        `fecha and created_at of the newest tickets differ by ${Math.round(off)} minutes: one of them comes from a clock that is off.`,
      ),
    );
  }
  return findings;
}

function ago(minutes: number): string {
  if (minutes < 2) return "just now";
  if (minutes < 120) return `${Math.round(minutes)} minutes ago`;
  return minutes < 48 * 60
    ? `${Math.round(minutes / 60)} hours ago`
    : `${Math.round(minutes / 1440)} days ago`;
}
