import { mkdtemp, rm, readFile } from "node:fs/promises";
import { startEmbedded } from "/tmp/wt/hot/src/database/embedded.ts";
import { prepareDatabase } from "/tmp/wt/hot/src/database/prepare.ts";
import { createLog } from "/tmp/wt/hot/src/log.ts";
import pg from "pg";
const dir = await mkdtemp("/tmp/hotlab-");
const server = await startEmbedded({ dataDir: dir, log: { info() {}, warn: console.error } as any, settings: {shared_buffers: "512MB", max_wal_size: "8GB"} });
try {
  const url = new URL(server.connectionString); 
  const admin = new pg.Client({ connectionString: url.toString() }); await admin.connect();
  await admin.query("create database lab"); await admin.end();
  url.pathname = "/lab";
  await prepareDatabase(url.toString(), createLog("warn"), { createPos: true });
  const owner = new pg.Client({ connectionString: url.toString() }); await owner.connect();
  await owner.query(`insert into tiendas select gen_random_uuid(), 'T'||n, 'x', true from generate_series(1,20) n;
    insert into productos select gen_random_uuid(), 'Producto ' || n, 'SKU-' || n, null, 100, 60, 1000000, 'general', null, true, now(), now(), t.id from tiendas t, generate_series(1, 1000) n;
    select nexus_engine.detach(); vacuum analyze`.split(";").map(s=>s)[0]);
  await owner.query(`insert into productos select gen_random_uuid(), 'Producto ' || n, 'SKU-' || n, null, 100, 60, 1000000, 'general', null, true, now(), now(), t.id from tiendas t, generate_series(1, 1000) n`);
  await owner.query(`select nexus_engine.detach()`);
  await owner.query("vacuum analyze");
  const mod = await import(process.argv[2]!);
  const variants: Record<string,string[]> = mod.variants;
  const rounds = Number(process.argv[3] ?? 9), per = Number(process.argv[4] ?? 600);
  const { rows } = await owner.query("select tienda_id as store, array_agg(id order by random()) as products from productos group by 1");
  const client = new pg.Client({ connectionString: url.toString() }); await client.connect();
  const pid = (await client.query("select pg_backend_pid() as pid")).rows[0].pid;
  const cpu = async () => Number((await readFile(`/proc/${pid}/schedstat`, "utf8")).split(" ")[0]);
  const run = (name: string, text: string, values: unknown[]) => client.query({ name, text, values });
  let k = 0;
  async function checkout() {
    k++;
    const r = rows[k % rows.length];
    await client.query("begin");
    const v = await run("venta", "insert into ventas (id, total, metodo_pago, status_pago, tienda_id) values (gen_random_uuid(), 30, 'efectivo', 'pendiente', $1) returning id", [r.store]);
    const lines = [0,1,2].map(i => r.products[(k*3+i) % r.products.length]);
    for (const p of lines) await run("line", "insert into detalles_venta values (gen_random_uuid(), 1, 10, 10, $1, $2)", [v.rows[0].id, p]);
    for (const p of lines) await run("stock", "update productos set stock_actual = stock_actual - 1 where id = $1", [p]);
    await client.query("commit");
  }
  const took = new Map(Object.keys(variants).map(n => [n, [] as number[]]));
  const names = Object.keys(variants);
  for (let round = 0; round <= rounds; round++) {
    for (let i = 0; i < names.length; i++) {
      const name = names[(i + round) % names.length]!;
      await owner.query("select nexus_engine.detach()");
      for (const s of variants[name]!) await owner.query(s);
      await owner.query("vacuum productos");
      for (let n = 0; n < 50; n++) await checkout();
      const from = await cpu();
      for (let n = 0; n < per; n++) await checkout();
      if (round > 0) took.get(name)!.push(((await cpu()) - from) / per / 1000);
    }
  }
  const med = (a: number[]) => a.toSorted((x,y)=>x-y)[a.length>>1]!;
  const base = med(took.get(names[0]!)!);
  for (const [n, a] of took) console.log(n.padEnd(60), med(a).toFixed(1), `min ${Math.min(...a).toFixed(1)}`, (base/med(a)).toFixed(3), (med(a)-base).toFixed(1));
  await client.end(); await owner.end();
} finally { await server.stop(); await rm(dir, {recursive: true, force: true}); await rm(server.dataDir, {recursive: true, force: true}); }
