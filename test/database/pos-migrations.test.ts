import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Pool } from "pg";
import { privilegeMatrix } from "../access/matrix.ts";
import { type Api, answered, asRequest, startApi } from "../graphql/api.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { drainOutbox } from "../support/drain.ts";
import {
  addProduct,
  addSale,
  addStore,
  addUser,
  findings,
  reconcile,
  setStock,
} from "../support/fixtures.ts";
import { jobsLeft, runJobs } from "../support/jobs.ts";
import { rollUp, rollupRows, rowsOfTickets } from "../support/rollups.ts";

const detach = "select nexus_engine.detach()";
const attach = "select nexus_engine.attach()";
const stockTypes = ["STOCK_BAJO", "PRODUCTO_SIN_STOCK"];

/** What a migration of the POS may do to columns that we read, and how it is taken back. */
const alterations: [string, string, string][] = [
  [
    "amounts become decimals",
    `alter table public.ventas alter total type numeric(12, 2);
     alter table public.detalles_venta alter cantidad type numeric(12, 3), alter precio_unitario type numeric(12, 2),
       alter subtotal type numeric(12, 2);
     alter table public.productos alter stock_actual type numeric(12, 3), alter precio_venta type numeric(12, 2),
       alter precio_costo type numeric`,
    `alter table public.ventas alter total type double precision;
     alter table public.detalles_venta alter cantidad type double precision,
       alter precio_unitario type double precision, alter subtotal type double precision;
     alter table public.productos alter stock_actual type double precision, alter precio_venta type double precision,
       alter precio_costo type double precision`,
  ],
  [
    "texts become longer",
    `alter table public.ventas alter metodo_pago type text, alter status_pago type varchar(80);
     alter table public.productos alter nombre type text, alter sku type varchar(200), alter tipo type text;
     alter table public.insights alter tipo type varchar(200), alter mensaje type text, alter nivel_urgencia type text;
     alter table public.tiendas alter nombre type varchar(500), alter rubro type text`,
    `alter table public.ventas alter metodo_pago type varchar(50), alter status_pago type varchar(50);
     alter table public.productos alter nombre type varchar(255), alter sku type varchar(100), alter tipo type varchar(50);
     alter table public.insights alter tipo type varchar(100), alter mensaje type varchar,
       alter nivel_urgencia type varchar(50);
     alter table public.tiendas alter nombre type varchar(255), alter rubro type varchar(50)`,
  ],
  [
    "codes become enums, and columns that we do not read go",
    `create type public.metodo as enum ('efectivo', 'tarjeta_debito', 'tarjeta_credito', 'transferencia');
     create type public.estado as enum ('pendiente', 'pagado', 'anulado');
     create type public.clase as enum ('general', 'pesable', 'ropa');
     alter table public.ventas alter metodo_pago type public.metodo using metodo_pago::public.metodo,
       alter status_pago type public.estado using status_pago::public.estado, drop column afip_cae;
     alter table public.productos alter tipo type public.clase using tipo::public.clase, drop column descripcion;
     alter table public.detalles_venta drop column precio_unitario`,
    `alter table public.ventas alter metodo_pago type varchar(50), alter status_pago type varchar(50),
       add column afip_cae varchar(50);
     alter table public.productos alter tipo type varchar(50), add column descripcion varchar;
     alter table public.detalles_venta add column precio_unitario double precision;
     drop type public.metodo, public.estado, public.clase`,
  ],
  [
    "tables are made anew",
    `create table public.other_insights (like public.insights including all);
     insert into public.other_insights select * from public.insights;
     drop table public.insights;
     alter table public.other_insights rename to insights;
     create table public.other_lines (like public.detalles_venta including all);
     insert into public.other_lines select * from public.detalles_venta;
     drop table public.detalles_venta;
     alter table public.other_lines rename to detalles_venta`,
    "select",
  ],
];

describe("a migration of the POS between detach() and attach()", () => {
  let db: TestDatabase;
  let worker: Pool;
  let api: Api;
  let store: string;
  let user: string;
  let product: string;
  const asOf = new Date("2026-11-25T23:30:00Z");
  const sold = new Date("2026-11-23T15:00:00Z");

  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
    api = await startApi(db);
    store = await addStore(db.pool);
    user = await addUser(db.pool, store);
    product = await addProduct(db.pool, store, { stock: 50, precioVenta: 99.9 });
    const kilos = await addProduct(db.pool, store, { stock: 0.8, tipo: "pesable", sku: "KILO" });
    await addProduct(db.pool, store, { stock: -2, sku: "OUT" });
    for (const [n, metodoPago] of ["efectivo", "tarjeta_debito", "transferencia"].entries()) {
      const lines = [
        { productoId: product, cantidad: n + 1, precio: 99.9 },
        { productoId: kilos, cantidad: 0.35, precio: 1234.56 },
      ];
      const statusPago = n === 2 ? "pendiente" : "pagado";
      await addSale(db.pool, store, { fecha: sold, metodoPago, statusPago, lines });
    }
    await catchUp();
  });
  after(async () => {
    await api?.close();
    await db.drop();
  });

  async function catchUp(): Promise<void> {
    await runJobs(worker);
    await drainOutbox(worker);
    await reconcile(worker, [store], asOf, stockTypes);
    await rollUp(worker);
    assert.deepEqual(await jobsLeft(db.pool), []);
  }

  /** Who may do what, but for types of the POS's own. */
  async function rightsOf(): Promise<string[]> {
    const lines = await privilegeMatrix(db.pool, "pg_monitor");
    return lines.filter((line) => !line.startsWith("type public."));
  }

  /** What the owner and the API see of the store, and the types of our views. */
  async function seen(): Promise<unknown> {
    const told = [];
    for (const tipo of [...stockTypes, "VENTAS_DIARIAS", "VENTAS_SEMANALES"]) {
      told.push(await findings(worker, tipo, [store], asOf));
    }
    const { rows: types } = await db.pool.query(
      `select a.attrelid::regclass as view, a.attname, format_type(a.atttypid, a.atttypmod) as type
       from pg_attribute a join pg_class c on c.oid = a.attrelid
       where c.relkind = 'v' and c.relnamespace::regnamespace::text like 'nexus%' order by a.attrelid::regclass::text, a.attnum`,
    );
    const shown = await asRequest(api.pool, user, "rollback", async (query) => {
      const { rows } = await query(
        `select array(select to_jsonb(p) from nexus_api.productos p order by p.sku) as productos,
           array(select to_jsonb(i) - 'id' - 'created_at' from nexus_api.insights i where i.is_active order by i.mensaje) as insights,
           array(select to_jsonb(t) from nexus_api.tiendas t) as tiendas, nexus_api.store_settings() as settings,
           nexus_api.stock_summary() as stock, nexus_api.sales_summary('2026-11-20', '2026-11-25') as sales,
           array(select to_jsonb(p) from nexus_api.top_productos('2026-11-20', '2026-11-25') p) as top,
           array(select to_jsonb(p) from nexus_api.profitability('2026-11-20', '2026-11-25') p) as profit,
           to_jsonb(nexus_api.sales_by_payment_method('2026-11-20', '2026-11-25')) as methods`,
      );
      return rows;
    });
    return { told, types, shown, rollups: await rollupRows(db.pool) };
  }

  /** The alerts of the product of which the tests change the stock. */
  async function alerts(): Promise<unknown[]> {
    const { rows } = await db.pool.query(
      "select extra_data -> 'stock_actual' as stock from public.insights where is_active and extra_data ->> 'producto_id' = $1",
      [product],
    );
    return rows.map(({ stock }) => stock);
  }

  /** The POS sells while we are detached; afterwards everything is as a recomputation says, and then as it was. */
  async function migrates(statement: string, expected: unknown): Promise<void> {
    await db.pool.query(detach);
    await db.pool.query(statement);
    await setStock(db.pool, product, 2);
    const sale = await addSale(db.pool, store, {
      fecha: new Date("2026-11-22T15:00:00Z"),
      total: 5,
    });
    await db.pool.query(attach);
    await catchUp();
    assert.deepEqual(await alerts(), [2], "what happened meanwhile is told");
    assert.deepEqual(await rollupRows(db.pool), await rowsOfTickets(db.pool));
    await setStock(db.pool, product, 1.5);
    await drainOutbox(worker);
    assert.deepEqual(await alerts(), [1.5], "the triggers are followed");
    await setStock(db.pool, product, 50);
    await db.pool.query("delete from public.ventas where id = $1", [sale]);
    await catchUp();
    assert.deepEqual(await rollupRows(db.pool), await rowsOfTickets(db.pool));
    assert.deepEqual(await seen(), expected);
  }

  for (const [what, forwards, back] of alterations) {
    it(`changes nothing for us where ${what}`, async () => {
      const [expected, rights] = [await seen(), await rightsOf()];
      const list =
        "{ productos(orderBy: [SKU_ASC]) { nodes { sku stockActual precioVenta } } insights { nodes { tipo } } }";
      const ask = () => answered(() => api.ask(user, list));
      const answer = (await ask()).data;
      assert.equal(answer?.productos?.nodes.length, 3);
      for (const statement of [forwards, back]) {
        await migrates(statement, expected);
        assert.deepEqual((await ask()).data?.productos, answer.productos);
        assert.deepEqual(await rightsOf(), rights);
      }
    });
  }

  it("fails no till that stays connected, with detach() or where it takes none", async () => {
    const till = await db.pool.connect();
    const changeLines = `update public.detalles_venta set subtotal = subtotal + 1 where producto_id = '${product}'`;
    const work = `
      ${changeLines};
      update public.ventas set total = total + 1 where tienda_id = '${store}';
      update public.productos set stock_actual = 3, nombre = nombre || '.' where id = '${product}';
      update public.productos set stock_actual = 50 where id = '${product}'`;
    try {
      await till.query(work);
      await db.pool.query("alter table public.detalles_venta alter subtotal type numeric(14, 2)");
      await rollUp(worker);
      await till.query(changeLines);
      await rollUp(worker);
      assert.deepEqual(await rollupRows(db.pool), await rowsOfTickets(db.pool));
      await db.pool.query(detach);
      await till.query(work);
      await db.pool.query(alterations[0]?.[1] ?? "");
      await till.query(work);
      await db.pool.query(attach);
      await till.query(work);
      await catchUp();
      assert.deepEqual(await rollupRows(db.pool), await rowsOfTickets(db.pool));
    } finally {
      till.release();
    }
  });
});
