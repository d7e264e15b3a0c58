import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { connect } from "./database/client.ts";
import type { Database } from "./database/open.ts";
import { type ExpectedClaims, signToken } from "./graphql/token.ts";

const day = 24 * 60 * 60;

type DemoStore = { id: string; nombre: string; user_id: string; email: string };
type StoreInsights = { tipo: string; count: number; mensaje: string };

/**
 * Refreshes up to three stores of the embedded database as their owners would; says what came out,
 * and gives a curl line with a working token that asks for it.
 */
export async function describeDemo(
  database: Database,
  url: string,
  expectedClaims: ExpectedClaims,
): Promise<string> {
  const client = await connect(database.ownerUrl, "nexus-demo");
  try {
    const { rows: stores } = await client.query<DemoStore>(
      `select distinct on (t.nombre, t.id) t.id, t.nombre, u.id as user_id, u.email
       from public.tiendas t
       join public.users u on u.tienda_id = t.id and u.is_active
       where t.is_active order by t.nombre, t.id, u.rol = 'owner' desc, u.email limit 3`,
    );
    const first = stores[0];
    if (!first) return "";
    const lines: string[] = [];
    for (const store of stores) lines.push(await describeStore(client, store));
    const key = new TextEncoder().encode(database.secretKey);
    const token = await signToken(first.user_id, key, 7 * day, expectedClaims);
    return `
${lines.join("\n")}

Ask as ${first.email} (${first.nombre}), with a token of seven days:

curl -s ${url}/graphql -H 'content-type: application/json' -H 'authorization: Bearer ${token}' \\
  -d '{"query":"{ insights(first: 5, orderBy: URGENCIA) { nodes { tipo nivelUrgencia mensaje } } }"}'
`;
  } finally {
    await client.end();
  }
}

async function describeStore(client: Client, store: DemoStore): Promise<string> {
  const { rows } = await client.query<{ id: string }>(
    "select id from nexus_engine.request_refresh($1)",
    [store.id],
  );
  await ended(client, rows[0]?.id);
  const { rows: insights } = await client.query<StoreInsights>(
    `select tipo, count(*)::int as count, (array_agg(mensaje order by created_at desc))[1] as mensaje
     from public.insights where tienda_id = $1 and is_active group by tipo order by tipo`,
    [store.id],
  );
  const sample = insights.find(({ tipo }) => tipo === "VENTAS_DIARIAS") ?? insights[0];
  return `${store.nombre}: ${insights.map(({ tipo, count }) => `${count} ${tipo}`).join(", ")}
  ${sample?.mensaje ?? "(todavía sin insights)"}`;
}

/** Waits until the worker has ended the request; not for long, the banner is only a greeting. */
async function ended(client: Client, requestId: string | undefined): Promise<void> {
  for (let tries = 0; tries < 50; tries += 1) {
    const { rowCount } = await client.query(
      "select from nexus_engine.refresh_request where id = $1 and status in ('succeeded', 'failed')",
      [requestId],
    );
    if (rowCount) return;
    await sleep(50);
  }
}
