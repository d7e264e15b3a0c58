import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Pool } from "pg";
import type { Database } from "../src/database/open.ts";
import { describeDemo } from "../src/demo.ts";
import { verifyToken } from "../src/graphql/token.ts";
import { createTestDatabase, type TestDatabase } from "./support/database.ts";
import { reconcile } from "./support/fixtures.ts";

/** A Saturday at noon in Buenos Aires: the shops are open, the day is not over. */
const saturday = "2026-03-14T15:00:00Z";

async function loadDemo(pool: Pool, at: string): Promise<void> {
  const script = await readFile(join(import.meta.dirname, "../sql/pos/demo.sql"), "utf8");
  const client = await pool.connect();
  try {
    await client.query("select set_config('nexus.demo_now', $1, false)", [at]);
    await client.query(script);
  } finally {
    client.release(true);
  }
}

/** One hash for all rows of each table; settings without the time of their last change. */
async function fingerprint(pool: Pool): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const table of [
    "public.tiendas",
    "public.users",
    "public.productos",
    "public.ventas",
    "public.detalles_venta",
    "nexus_engine.store_settings",
  ]) {
    const { rows } = await pool.query<{ hash: string }>(
      `select md5(string_agg(r.row, ';' order by r.row)) as hash
       from (select (to_jsonb(t) - 'updated_at')::text as row from ${table} t) r`,
    );
    hashes[table] = rows[0]?.hash ?? "";
  }
  return hashes;
}

describe("the demo data", () => {
  let db: TestDatabase;
  before(async () => {
    db = await createTestDatabase();
    await loadDemo(db.pool, saturday);
  });
  after(() => db.drop());

  const rowsOf = async <T extends object>(sql: string, values: unknown[] = []): Promise<T[]> =>
    (await db.pool.query<T>(sql, values)).rows;
  const one = async (sql: string, values: unknown[] = []): Promise<number> =>
    Number((await rowsOf<{ n: string }>(sql, values))[0]?.n);

  it("is the same in two databases loaded at the same moment", async () => {
    const other = await createTestDatabase();
    try {
      await loadDemo(other.pool, saturday);
      assert.deepEqual(await fingerprint(other.pool), await fingerprint(db.pool));
    } finally {
      await other.drop();
    }
  });

  it("has three shops of different trade, one of them in another time zone, with their people", async () => {
    assert.deepEqual(
      await rowsOf(
        `select t.rubro, array_agg(u.rol || ' ' || u.email order by u.rol desc) as people, s.time_zone
         from public.tiendas t
         join public.users u on u.tienda_id = t.id and u.is_active
         join nexus_engine.store s on s.tienda_id = t.id
         where t.is_active group by t.rubro, s.time_zone order by t.rubro`,
      ),
      [
        {
          rubro: "almacen",
          people: ["owner almacen@demo.nexus", "cajero caja.almacen@demo.nexus"],
          time_zone: "America/Argentina/Buenos_Aires",
        },
        {
          rubro: "ferreteria",
          people: ["owner ferreteria@demo.nexus", "cajero caja.ferreteria@demo.nexus"],
          time_zone: "America/Argentina/Mendoza",
        },
        {
          rubro: "indumentaria",
          people: ["owner indumentaria@demo.nexus", "cajero caja.indumentaria@demo.nexus"],
          time_zone: "America/La_Paz",
        },
      ],
    );
  });

  it("has about 300 products with all that can be wrong with a stock, in each shop", async () => {
    const shops = await rowsOf<Record<string, number>>(
      `select count(*)::int as products, count(distinct p.sku)::int as skus,
         count(*) filter (where p.stock_actual < 0)::int as negative,
         count(*) filter (where p.is_active and p.stock_actual = 0)::int as out,
         count(*) filter (where p.is_active and p.stock_actual > 0 and p.stock_actual <= s.critical_level)::int as critical,
         count(*) filter (where p.is_active and p.stock_actual > s.critical_level and p.stock_actual <= s.low_level)::int as low,
         count(*) filter (where not p.is_active)::int as inactive
       from public.productos p join nexus_engine.store s on s.tienda_id = p.tienda_id
       group by p.tienda_id`,
    );
    assert.equal(shops.length, 3);
    for (const shop of shops) {
      assert.ok(Number(shop.products) >= 85 && Number(shop.products) <= 110, `${shop.products}`);
      assert.equal(shop.skus, shop.products);
      assert.equal(shop.negative, 1);
      for (const kind of ["out", "critical", "low", "inactive"]) {
        assert.ok(Number(shop[kind]) >= 2 && Number(shop[kind]) <= 9, `${kind}: ${shop[kind]}`);
      }
    }
    assert.equal(
      await one(
        "select count(*) as n from public.productos where tipo = 'ropa' and (atributos ->> 'talle' is null or atributos ->> 'color' is null)",
      ),
      0,
    );
    assert.ok((await one("select count(*) as n from public.productos where tipo = 'ropa'")) > 50);
    assert.deepEqual(
      await rowsOf(
        "select distinct atributos ->> 'unidad_medida' as unidad from public.productos where tipo = 'pesable' order by 1",
      ),
      [{ unidad: "kg" }, { unidad: "lt" }],
    );
    assert.ok(
      (await one(
        "select count(*) as n from public.productos where tipo = 'pesable' and stock_actual <> floor(stock_actual)",
      )) > 15,
    );
  });

  it("has tickets of one to six lines, whose total is the sum of them to the cent", async () => {
    const tickets = await one("select count(*) as n from public.ventas");
    assert.ok(tickets > 6000 && tickets < 12_000, `${tickets}`);
    assert.equal(
      await one(
        `select count(*) as n from public.ventas v
         cross join lateral (
           select count(*) as lines, sum(d.subtotal::numeric) as total from public.detalles_venta d where d.venta_id = v.id
         ) d
         where v.total::numeric = d.total and d.lines between 1 and 6 and v.total > 0 and v.total < 1e7`,
      ),
      tickets,
    );
    assert.equal(
      await one(
        `select count(*) as n from public.detalles_venta d
         join public.productos p on p.id = d.producto_id join public.ventas v on v.id = d.venta_id
         where d.subtotal::numeric <> round(d.cantidad::numeric * d.precio_unitario::numeric, 2)
           or v.tienda_id <> p.tienda_id or not p.is_active or d.cantidad <= 0
           or (p.tipo <> 'pesable' and d.cantidad <> floor(d.cantidad))`,
      ),
      0,
    );
  });

  it("sells on six weekdays, in opening hours, from 60 days ago until now", async () => {
    const shops = await rowsOf<{
      weekdays: number[];
      hours: number[];
      days: number;
      today: number;
    }>(
      `select array_agg(distinct extract(isodow from l.at)::int) as weekdays,
         array_agg(distinct extract(hour from l.at)::int) as hours,
         count(distinct l.at::date)::int as days,
         count(*) filter (where v.fecha > $1::timestamptz - interval '6 hours')::int as today
       from public.ventas v
       join nexus_engine.store s on s.tienda_id = v.tienda_id
       cross join lateral (select v.fecha at time zone s.time_zone as at) l
       group by v.tienda_id`,
      [saturday],
    );
    for (const shop of shops) {
      assert.equal(shop.weekdays.length, 6);
      assert.ok(shop.hours.every((hour) => hour >= 8 && hour <= 21));
      assert.ok(shop.hours.length < 14, "closed for lunch or in the evening");
      assert.ok(shop.days >= 48 && shop.days <= 53, `${shop.days}`);
      assert.ok(shop.today > 0);
    }
    assert.equal(
      await one(
        `select count(*) as n from public.ventas
         where fecha > $1 or fecha < $1::timestamptz - interval '60 days' or created_at <> fecha`,
        [saturday],
      ),
      0,
    );
  });

  it("leaves cash tickets pendiente as the POS does, and has pending cards and annulled tickets", async () => {
    const [share] = await rowsOf<Record<string, number>>(
      `select avg((metodo_pago = 'efectivo')::int)::float8 as cash,
         (avg((status_pago = 'pendiente')::int) filter (where metodo_pago = 'efectivo'))::float8 as cash_pending,
         (avg((status_pago = 'pendiente')::int) filter (where metodo_pago <> 'efectivo'))::float8 as other_pending,
         (avg((status_pago = 'anulado')::int))::float8 as annulled
       from public.ventas`,
    );
    const between = (value: number | undefined, low: number, high: number) =>
      assert.ok(value !== undefined && value > low && value < high, `${value}`);
    between(share?.cash, 0.4, 0.55);
    between(share?.cash_pending, 0.9, 0.99);
    between(share?.other_pending, 0.02, 0.1);
    between(share?.annulled, 0.01, 0.04);
  });

  it("gives every type of insight, in messages that an owner can read", async () => {
    const stores = (await rowsOf<{ id: string }>("select id from public.tiendas")).map(
      ({ id }) => id,
    );
    const results = await reconcile(db.pool, stores, saturday);
    assert.ok(results.every(({ failed, inserted }) => failed === 0 && inserted >= 3));
    assert.deepEqual(results.map(({ tipo }) => tipo).sort(), [
      "PRODUCTO_SIN_STOCK",
      "STOCK_BAJO",
      "VENTAS_DIARIAS",
      "VENTAS_SEMANALES",
    ]);
    const messages = await rowsOf<{ mensaje: string; extra_data: Record<string, unknown> }>(
      "select mensaje, extra_data from public.insights",
    );
    assert.ok(messages.length < 60, "no flood");
    for (const { mensaje, extra_data } of messages) {
      assert.doesNotMatch(mensaje, /null|NaN|undefined|\n| {2}/);
      assert.ok(!("filas_excluidas" in extra_data) || extra_data.filas_excluidas === 0);
    }
    assert.ok(messages.some(({ mensaje }) => /\d,\d+ kg/.test(mensaje)));
    assert.ok(messages.some(({ extra_data }) => extra_data.semanas_comparadas === 4));
  });

  it("has a day to tell in at least two shops, also after a holiday and when one was shut", async () => {
    for (const day of ["2026-01-02", "2026-06-08"]) {
      const other = await createTestDatabase();
      try {
        const at = `${day}T13:00:00Z`;
        await loadDemo(other.pool, at);
        const { rows } = await other.pool.query<{ id: string }>("select id from public.tiendas");
        const results = await reconcile(
          other.pool,
          rows.map(({ id }) => id),
          at,
        );
        const inserted = Object.fromEntries(results.map(({ tipo, inserted }) => [tipo, inserted]));
        assert.ok((inserted["VENTAS_DIARIAS"] ?? 0) >= 2, day);
        assert.equal(inserted["VENTAS_SEMANALES"], 3, day);
      } finally {
        await other.drop();
      }
    }
  });

  it("is shown with a token that the API takes, also where it expects aud and iss", async () => {
    await db.pool.query(`
      create function public.end_at_once() returns trigger language plpgsql as $$
        begin perform nexus_engine.finish_request(new.id, null, 'TEST', 'test'); return null; end $$;
      create trigger end_at_once after insert on nexus_engine.refresh_request
        for each row execute function public.end_at_once()`);
    const secretKey = "una-clave-de-prueba-con-mas-de-32-bytes";
    const claims = { audience: "nexus", issuer: "pos" };
    const database = { ownerUrl: db.url, secretKey } as Database;
    const shown = await describeDemo(database, "http://localhost:4000", claims);
    const token = /Bearer ([^']+)'/.exec(shown)?.[1] ?? "";
    const { userId } = await verifyToken(token, [new TextEncoder().encode(secretKey)], claims);
    const users = await rowsOf("select from public.users where id = $1", [userId]);
    assert.equal(users.length, 1);
  });

  it("takes the present when it is told nothing else", async () => {
    const other = await createTestDatabase();
    try {
      await loadDemo(other.pool, "");
      const { rows } = await other.pool.query<{ ok: boolean }>(
        "select max(fecha) between now() - interval '2 days' and now() as ok from public.ventas",
      );
      assert.equal(rows[0]?.ok, true);
    } finally {
      await other.drop();
    }
  });
});
