import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import type { Pool, PoolClient } from "pg";
import { posTables } from "../../src/database/pos.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addSale, addStore, reconcile } from "../support/fixtures.ts";
import { assertReportsExact, rollUp, rollupRows, rowsOfTickets } from "../support/rollups.ts";

describe("a suspension", () => {
  let db: TestDatabase;
  let worker: Pool;
  before(async () => {
    db = await createTestDatabase();
    worker = db.poolAs("nexus_worker");
  });
  afterEach(() => allow(db.pool, ...posTables));
  after(() => db.drop());

  const hide = (pool: Pool | PoolClient, ...tables: string[]) =>
    pool.query(tables.map((t) => `alter table public.${t} enable row level security`).join(";"));
  const allow = (pool: Pool | PoolClient, ...tables: string[]) =>
    pool.query(tables.map((t) => `alter table public.${t} disable row level security`).join(";"));
  const suspension = async (pool: Pool | PoolClient = db.pool): Promise<string | null> => {
    const { rows } = await pool.query("select nexus_engine.suspension() as it");
    return rows[0].it;
  };
  /** In a transaction that leaves nothing: roles are the whole cluster's. */
  const trial = async (run: (client: PoolClient) => Promise<void>) => {
    const client = await db.pool.connect();
    try {
      await client.query("begin; set local jit = off");
      await run(client);
    } finally {
      await client.query("rollback");
      client.release();
    }
  };

  it("is told to the worker and the server, and there is none as a rule", async () => {
    for (const pool of [db.pool, worker, db.poolAs("nexus_server")]) {
      assert.equal(await suspension(pool), null);
    }
  });

  it("is row level security of any of the POS's tables, whose statements can be pasted", async () => {
    for (const table of posTables) {
      await trial(async (client) => {
        await hide(client, table);
        const told = (await suspension(client)) ?? "";
        assert.match(told, new RegExp(`^row level security of public\\.${table} would hide rows`));
        assert.equal(told.includes("alter role nexus_worker bypassrls;"), table !== "users");
        for (const remedy of told.match(/alter table [^;]*;/g) ?? []) await client.query(remedy);
        assert.equal(await suspension(client), null);
      });
    }
    await trial(async (client) => {
      await hide(client, "ventas", "productos");
      const told = (await suspension(client)) ?? "";
      assert.match(told, /^row level security of public\.productos, public\.ventas would hide/);
      const remedies = told.match(/alter role [^;]*;/g) ?? [];
      assert.equal(remedies.length, 2);
      for (const remedy of remedies) {
        assert.ok(await suspension(client));
        await client.query(remedy);
      }
      assert.equal(await suspension(client), null);
    });
  });

  it("is none for the owner of the tables, unless it is forced on him", async () => {
    await trial(async (client) => {
      await client.query(`create role nexus_test_owner;
        alter table public.productos owner to nexus_test_owner`);
      await hide(client, "productos");
      assert.ok(await suspension(client));
      await client.query("grant nexus_test_owner to nexus_owner");
      assert.match((await suspension(client)) ?? "", /let nexus_worker see all rows/);
      await client.query("alter role nexus_worker inherit; grant nexus_test_owner to nexus_worker");
      assert.equal(await suspension(client), null);
      await client.query("alter table public.productos force row level security");
      assert.match((await suspension(client)) ?? "", /let nexus_owner and nexus_worker see/);
    });
  });

  it("is the state between a detachment and the next attachment", async () => {
    await trial(async (client) => {
      await client.query(
        "insert into nexus_engine.detached (since) values ('2026-01-02 03:04:05Z')",
      );
      assert.equal(
        await suspension(client),
        "detached from the POS's tables since 2026-01-02T03:04:05Z: npm run attach, or select nexus_engine.attach(), puts it back",
      );
      await client.query("drop view nexus_engine.store cascade");
      assert.match((await suspension(client)) ?? "", /^detached/);
    });
  });

  it("is the lack of any view of ours, or table of the POS's", async () => {
    const { rows } = await db.pool.query<{ view: string }>(
      `select schemaname || '.' || viewname as view from pg_views
       where schemaname in ('nexus_engine', 'nexus_api') order by 1`,
    );
    assert.ok(rows.length > 5);
    for (const { view } of rows) {
      await trial(async (client) => {
        await client.query(`drop view ${view} cascade`);
        const told = (await suspension(client)) ?? "";
        assert.ok(
          told.includes(view) && told.includes("missing: restart, or npm run attach"),
          `${view}: ${told}`,
        );
      });
    }
    await trial(async (client) => {
      await client.query("drop table public.detalles_venta cascade");
      assert.match(
        (await suspension(client)) ?? "",
        /^public\.detalles_venta is missing: .*what they lack \(public\.detalles_venta: expected a table/,
      );
    });
  });

  it("names the POS's columns that went with our views, without which no start makes them anew", async () => {
    await trial(async (client) => {
      await client.query("alter table public.ventas drop column total cascade");
      assert.match(
        (await suspension(client)) ?? "",
        /nexus_engine\.sale.* missing: give the POS's tables what they lack \(public\.ventas\.total: expected a number, found no such column\), then restart/,
      );
    });
  });

  it("is the lack of any table of ours, which is in a backup only", async () => {
    const { rows } = await db.pool.query<{ name: string }>(
      `select c.oid::regclass::text as name from pg_class c
       where c.relnamespace = 'nexus_engine'::regnamespace and c.relkind in ('r', 'p') order by 1`,
    );
    assert.ok(rows.length > 20);
    // Without these nobody can look.
    const needed = ["detached", "made_object", "migration"].map((name) => `nexus_engine.${name}`);
    for (const { name } of rows.filter((row) => !needed.includes(row.name))) {
      await trial(async (client) => {
        await client.query(`drop table ${name} cascade`);
        const told = (await suspension(client)) ?? "";
        assert.ok(told.includes(`${name} `) || told.includes(`${name},`), told);
        assert.match(told, /missing: restore what is missing from a backup, or .*npm run export/);
        await client.query("savepoint texts");
        await assert.rejects(client.query("select nexus_engine.apply_texts()"), {
          code: "42P01",
          message: new RegExp(`${name} is missing: restore`),
        });
        await client.query("rollback to texts; select nexus_engine.note_objects()");
        const after = (await suspension(client)) ?? "";
        assert.ok(after.includes(name) && after.includes("restore"), "it is not forgotten");
      });
    }
  });

  it("is the lack of any right on the POS's tables, whose grants can be pasted", async () => {
    const { rows } = await db.pool.query<{ role: string; on: string; what: string }>(
      `select role, 'public.' || relation as on,
         privilege || coalesce(' (' || column_name || ')', '') as what
       from nexus_engine.pos_rights() r left join unnest(r.columns) column_name on true
       union all select unnest(array['nexus_owner', 'nexus_worker']), 'schema public', 'usage'`,
    );
    assert.ok(rows.length > 20);
    let told = 0;
    for (const { role, on, what } of rows) {
      // One of them may have the right by the other.
      for (const roles of [role, "nexus_owner, nexus_worker"]) {
        await trial(async (client) => {
          await client.query(`revoke ${what} on ${on} from ${roles}, public`);
          const lacking = await client.query("select from nexus_engine.missing_grants()");
          const reason = (await suspension(client)) ?? "";
          const about = `${roles} ${what} ${on}: ${reason}`;
          assert.equal(
            reason.startsWith(`rights on ${on} are missing: `),
            lacking.rowCount !== 0,
            about,
          );
          if (!lacking.rowCount) return;
          told += 1;
          for (const grant of reason.match(/grant [^;]*;/g) ?? []) await client.query(grant);
          assert.equal(await suspension(client), null, about);
        });
      }
    }
    assert.ok(told > rows.length, `${told}`);
  });

  it("tells who may let our roles see all rows, which is not the same in every Postgres", async () => {
    await trial(async (client) => {
      await hide(client, "ventas");
      const { rows } = await client.query(
        "select current_setting('server_version_num')::int >= 160000 as others",
      );
      assert.equal(/CREATEROLE/.test((await suspension(client)) ?? ""), rows[0].others);
      assert.doesNotMatch((await suspension(client)) ?? "", /a role that has BYPASSRLS/);
    });
  });

  it("is not the lack of a trigger, of which readiness warns", async () => {
    const warning = async (pool: Pool | PoolClient) =>
      (await pool.query("select nexus_engine.triggers_warning() as it")).rows[0].it;
    assert.equal(await warning(db.poolAs("nexus_server")), null);
    for (const change of [
      "drop trigger nexus_sale_insert on public.ventas",
      "alter table public.productos disable trigger nexus_stock_update",
      "alter table public.insights disable trigger nexus_insight_change",
    ]) {
      await trial(async (client) => {
        await client.query(change);
        assert.equal(await suspension(client), null);
        assert.match(await warning(client), /missing or disabled/);
        await client.query("select nexus_engine.attach()");
        assert.equal(await warning(client), null);
        await client.query("select nexus_engine.detach()");
        assert.equal(await warning(client), null);
      });
    }
  });

  it("makes what it explains pass, and nothing else", async () => {
    const passing = async (state: string) => {
      const { rows } = await db.pool.query("select nexus_engine.is_passing($1) as it", [state]);
      return rows[0].it;
    };
    const states = ["42501", "42P01", "42883", "42703", "42704", "3F000", "0A000"];
    for (const state of states) assert.equal(await passing(state), false, state);
    await hide(db.pool, "productos");
    for (const state of states) assert.equal(await passing(state), true, state);
    assert.equal(await passing("42601"), false);
    assert.equal(await passing("22012"), false);
  });

  it("deletes and archives nothing, whoever's session it is and whatever its row_security says", async () => {
    const store = await addStore(db.pool, { settings: { low_stock_threshold: 5 } });
    const low = await addProduct(db.pool, store, { stock: 2 });
    await addProduct(db.pool, store, { stock: 0 });
    const fecha = new Date(Date.now() - 3 * 86_400_000);
    const lines = [{ productoId: low, cantidad: 2, precio: 10 }];
    await addSale(db.pool, store, { fecha, lines });
    for (const call of ["note_horizon()", "roll_up_batch(100, '{}')"]) {
      await db.pool.query(`select nexus_engine.${call}`);
    }
    await reconcile(worker, [store], new Date());
    const calls = [
      "reconcile(null, array[$1]::uuid[], now())",
      "forget_dismissals(array[$1]::uuid[], now())",
      "refresh_available(null, array[$1]::uuid[], true, now())",
      "check_stock_watch(array[$1]::uuid[], now())",
      "check_stock_locked(array[$1]::uuid[], now())",
      "check_stock_batch(null, array_length(array[$1]::uuid[], 1), now())",
      "update_stock_watch(array[$1]::uuid[], now())",
      "tell_crossings(array[$1]::uuid[], 100, now())",
      "drain_outbox(cardinality(array[$1]::uuid[]) + 99, 100, false, now())",
      "rebuild_rollups($1)",
      "roll_up_batch(cardinality(array[$1]::uuid[]), '{}')",
      "compare_rollups_batch(null, cardinality(array[$1]::uuid[]), 1, now())",
    ];
    const tables = [
      ...["open_insight", "stock_watch", "stock_out", "store_settings"],
      ...["store_day", "store_hour", "method_day", "product_day"],
    ];
    const remembered = async (client: PoolClient) => {
      const { rows } = await client.query<{ it: string }>(
        `${tables.map((table) => `select '${table} ' || to_jsonb(r)::text as it from nexus_engine.${table} r`).join(" union all ")}
         union all select 'insight ' || i.id || ' ' || i.is_active from public.insights i order by 1`,
      );
      return rows.map(({ it }) => it);
    };
    let known: string[] = [];
    await trial(async (client) => {
      known = await remembered(client);
    });
    for (const kept of [...tables, "insight"]) {
      assert.ok(
        known.some((row) => row.startsWith(kept)),
        kept,
      );
    }
    // Of users nothing is decided.
    const hidden = posTables.filter((name) => name !== "users");
    let refused = 0;
    for (const call of calls) {
      for (const [n, table] of ["", ...hidden, ...hidden].entries()) {
        await trial(async (client) => {
          // Something for each of them to do, after which all is as it was.
          await client.query(
            `delete from nexus_engine.stock_told;
             insert into nexus_engine.stock_recheck (tienda_id) values ('${store}');
             insert into nexus_engine.sale_mark (tienda_id, at) values ('${store}', '-infinity')`,
          );
          if (table) await hide(client, table);
          await client.query("savepoint call; set local row_security = on");
          // A superuser sees the tables, but not through our views.
          if (n > hidden.length) await client.query("set local role nexus_worker");
          const outcome = await client.query(`select nexus_engine.${call}`, [store]).then(
            () => "done",
            async (error: { code: string }) => {
              await client.query("rollback to savepoint call");
              return error.code;
            },
          );
          await client.query("reset role");
          assert.ok(outcome === "done" || (table && outcome === "42501"), `${call}: ${outcome}`);
          if (outcome === "42501") refused += 1;
          if (table) await allow(client, table);
          assert.deepEqual(await remembered(client), known, `${call} without ${table}`);
        });
      }
    }
    assert.ok(refused > calls.length * 2, `refused: ${refused}`);
  });

  it("is met by every function that deletes or archives by what it sees of the POS, and by every trigger", async () => {
    const { rows } = await db.pool.query<{ name: string }>(
      `select p.proname as name from pg_proc p
       where p.pronamespace = 'nexus_engine'::regnamespace
         and (p.prorettype = 'trigger'::regtype or p.prosrc ~ 'delete from|is_active = false')
         and p.prosrc ~ '\\m(public\\.(tiendas|users|productos|ventas|detalles_venta|insights)|nexus_engine\\.(store|product_level|sale))\\M'
         and not coalesce('row_security=off' = any (p.proconfig), false)
       order by 1`,
    );
    // attach() and its part name the tables, purges() is the text of what purge() runs.
    assert.deepEqual(
      rows
        .map(({ name }) => name)
        .filter((name) => !["attach", "attach_triggers", "purges"].includes(name)),
      [],
    );
  });

  it("loses nothing that the POS does meanwhile, and the POS hears nothing of it", async () => {
    const store = await addStore(db.pool);
    const [sold, renamed, low] = await Promise.all(
      [40, 3, 4].map((stock) => addProduct(db.pool, store, { stock })),
    );
    const tickets = [];
    for (const days of [3, 4, 5, 6, 7]) {
      const fecha = new Date(Date.now() - days * 86_400_000);
      const lines = [1, 2].map((cantidad) => ({ productoId: sold ?? "", cantidad, precio: 10 }));
      tickets.push(await addSale(db.pool, store, { fecha, lines, statusPago: "pendiente" }));
    }
    await reconcile(worker, [store], new Date());
    await rollUp(worker);
    const notices: unknown[] = [];
    const pos = await db.pool.connect();
    pos.on("notice", (notice) => notices.push(notice.message));
    try {
      await hide(pos, ...posTables);
      const [changed, emptied, deleted, moved, paid] = tickets;
      for (const [sql, id] of [
        ["update public.detalles_venta set subtotal = 77 where venta_id = $1", changed],
        ["delete from public.detalles_venta where venta_id = $1", emptied],
        [
          "with l as (delete from public.detalles_venta where venta_id = $1) delete from public.ventas where id = $1",
          deleted,
        ],
        ["update public.ventas set fecha = fecha - interval '1 day' where id = $1", moved],
        ["update public.ventas set status_pago = 'anulado' where id = $1", paid],
        ["update public.productos set stock_actual = 0 where id = $1", sold],
        ["update public.productos set nombre = 'Otra' where id = $1", renamed],
        ["update public.productos set is_active = false where id = $1", low],
        [
          "insert into public.insights (id, tienda_id, tipo, mensaje, nivel_urgencia, is_active, created_at, extra_data) select gen_random_uuid(), tienda_id, 'OTRO', '', 'BAJA', true, now(), jsonb_build_object('producto_id', id) from public.productos where id = $1",
          low,
        ],
      ]) {
        await pos.query(sql ?? "", [id]);
      }
      await allow(pos, ...posTables);
    } finally {
      pos.release(true);
    }
    assert.deepEqual(notices, []);
    await assertReportsExact(db.pool, [store], new Date());
    await rollUp(worker);
    assert.deepEqual(await rollupRows(db.pool), await rowsOfTickets(db.pool));
    await worker.query("select nexus_engine.drain_outbox(250, 500, false, now())");
    const { rows } = await db.pool.query(
      `select tipo, extra_data ->> 'nombre' as nombre from public.insights i
       where tienda_id = $1 and is_active and tipo <> 'OTRO' and tipo not like 'VENTAS%' order by 1, 2`,
      [store],
    );
    assert.deepEqual(
      rows.map(({ tipo }) => tipo),
      ["PRODUCTO_SIN_STOCK", "STOCK_BAJO"],
    );
    const noted = await db.pool.query(
      "select from nexus_engine.product_insight where producto_id = $1",
      [low],
    );
    assert.equal(noted.rowCount, 2);
  });
});
