import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { addProduct, addStore, addUser } from "../support/fixtures.ts";
import { type Api, startApi } from "./api.ts";

type Row = { nivelUrgencia: string; createdAt: string; mensaje: string };

describe("insights", () => {
  let db: TestDatabase;
  let api: Api;
  before(async () => {
    db = await createTestDatabase();
    api = await startApi(db);
  });
  after(async () => {
    await api.close();
    await db.drop();
  });

  const owner = async () => {
    const tienda = await addStore(db.pool);
    return { tienda, user: await addUser(db.pool, tienda) };
  };
  const addInsight = async (
    tienda: string,
    insight: {
      tipo?: string;
      nivel?: string;
      active?: boolean;
      at?: string;
      mensaje?: string;
      extra?: unknown;
    } = {},
  ) => {
    const id = randomUUID();
    await db.pool.query(
      `insert into public.insights (id, tienda_id, tipo, mensaje, nivel_urgencia, is_active, extra_data, created_at)
       values ($1, $2, $3, $4, $5, $6, $7, $8)`,
      [
        id,
        tienda,
        insight.tipo ?? "STOCK_BAJO",
        insight.mensaje ?? "Reponé",
        insight.nivel ?? "MEDIA",
        insight.active ?? true,
        JSON.stringify(insight.extra ?? {}),
        insight.at ?? "2026-11-24T12:00:00Z",
      ],
    );
    return id;
  };
  const list = async (user: string, args: string): Promise<string[]> => {
    const answer = await api.ask(user, `{ insights${args} { nodes { mensaje } } }`);
    assert.deepEqual(answer.errors, []);
    return answer.data.insights.nodes.map(({ mensaje }: Row) => mensaje);
  };

  it("come by urgency, the newest first among equals, unless the client says otherwise", async () => {
    const { tienda, user } = await owner();
    for (const [nivel, at] of [
      ["BAJA", "2026-11-24T15:00:00Z"],
      ["CRITICA", "2026-11-24T12:00:00Z"],
      ["RARA", "2026-11-24T16:00:00Z"],
      ["MEDIA", "2026-11-24T14:00:00Z"],
      ["ALTA", "2026-11-24T11:00:00Z"],
      ["CRITICA", "2026-11-24T13:00:00Z"],
    ] as const) {
      await addInsight(tienda, { nivel, at, mensaje: `${nivel} ${at.slice(11, 13)}` });
    }
    const byUrgency = ["CRITICA 13", "CRITICA 12", "ALTA 11", "MEDIA 14", "BAJA 15", "RARA 16"];
    assert.deepEqual(await list(user, ""), byUrgency);
    assert.deepEqual(await list(user, "(orderBy: URGENCIA)"), byUrgency);
    const newestFirst = ["RARA 16", "BAJA 15", "MEDIA 14", "CRITICA 13", "CRITICA 12", "ALTA 11"];
    assert.deepEqual(await list(user, "(orderBy: CREATED_AT_DESC)"), newestFirst);
    assert.deepEqual(await list(user, "(orderBy: CREATED_AT_ASC)"), newestFirst.toReversed());
  });

  it("are filtered by type, urgency, state and time", async () => {
    const { tienda, user } = await owner();
    await addInsight(tienda, { mensaje: "a", tipo: "STOCK_BAJO", nivel: "CRITICA" });
    await addInsight(tienda, { mensaje: "b", tipo: "STOCK_BAJO", nivel: "ALTA", active: false });
    await addInsight(tienda, {
      mensaje: "c",
      tipo: "VENTAS_DIARIAS",
      nivel: "BAJA",
      at: "2026-11-20T23:00:00Z",
    });
    for (const [filter, expected] of [
      [`{tipo: {equalTo: "STOCK_BAJO"}}`, ["a", "b"]],
      [`{tipo: {notEqualTo: "STOCK_BAJO"}}`, ["c"]],
      [`{nivelUrgencia: {in: ["CRITICA", "BAJA"]}}`, ["a", "c"]],
      [`{isActive: {equalTo: true}}`, ["a", "c"]],
      [`{createdAt: {lessThan: "2026-11-20T20:00:00.001-03:00"}}`, ["c"]],
      [`{createdAt: {greaterThan: "2026-11-20T20:00:00-03:00"}}`, ["a", "b"]],
      [`{isActive: {equalTo: true}, tipo: {equalTo: "STOCK_BAJO"}}`, ["a"]],
      [`{}`, ["a", "b", "c"]],
    ] as const) {
      assert.deepEqual((await list(user, `(filter: ${filter})`)).sort(), expected, filter);
    }
  });

  it("are paged without a gap or a repetition, however many are equal in the order", async () => {
    const { tienda, user } = await owner();
    for (let n = 0; n < 23; n += 1)
      await addInsight(tienda, { mensaje: `${n}`, nivel: n % 2 ? "ALTA" : "BAJA" });
    for (const orderBy of ["URGENCIA", "CREATED_AT_ASC", "CREATED_AT_DESC"]) {
      const seen: string[] = [];
      let after: string | null = null;
      for (let more = true; more; ) {
        const answer = await api.ask(
          user,
          `query ($after: Cursor) { insights(first: 5, after: $after, orderBy: ${orderBy}) {
             totalCount nodes { mensaje } pageInfo { hasNextPage endCursor } } }`,
          { after },
        );
        assert.equal(answer.data.insights.totalCount, 23);
        seen.push(...answer.data.insights.nodes.map(({ mensaje }: Row) => mensaje));
        more = answer.data.insights.pageInfo.hasNextPage;
        after = answer.data.insights.pageInfo.endCursor;
      }
      assert.equal(seen.length, 23, orderBy);
      assert.equal(new Set(seen).size, 23, orderBy);
    }
  });

  it("come 50 at a time unless the client says otherwise, and never more than 100", async () => {
    const { tienda, user } = await owner();
    await db.pool.query(
      `insert into public.insights (id, tienda_id, tipo, mensaje, nivel_urgencia, is_active)
       select gen_random_uuid(), $1, 'STOCK_BAJO', n::text, 'BAJA', true from generate_series(1, 120) n`,
      [tienda],
    );
    assert.equal((await list(user, "")).length, 50);
    assert.equal((await list(user, "(first: 100)")).length, 100);
    assert.equal((await list(user, "(first: 0)")).length, 0);
  });

  it("know their product, and a product its insights", async () => {
    const { tienda, user } = await owner();
    const producto = await addProduct(db.pool, tienda, {
      nombre: "Queso",
      tipo: "pesable",
      stock: 1.1 + 0.1 + 0.05,
      precioVenta: 9999.99,
      precioCosto: "NaN",
    });
    const of = { producto_id: producto.toUpperCase(), umbral: 10 };
    const id = await addInsight(tienda, { mensaje: "poco", extra: of });
    await addInsight(tienda, { mensaje: "viejo", extra: of, active: false });
    await addInsight(tienda, { mensaje: "otro" });
    const { data, errors } = await api.ask(
      user,
      `query ($id: UUID!, $producto: UUID!) {
         insight(id: $id) { mensaje extraData producto { id nombre sku tipo stockActual unidad precioVenta precioCosto isActive } }
         producto(id: $producto) { nombre insights(filter: {isActive: {equalTo: true}}) { totalCount nodes { id } } }
         productos(filter: {nombre: {includesInsensitive: "QUES"}}) { nodes { id insights { totalCount } } }
       }`,
      { id, producto },
    );
    assert.deepEqual(errors, []);
    const { sku, ...shown } = data.insight.producto;
    assert.deepEqual(shown, {
      id: producto,
      nombre: "Queso",
      tipo: "pesable",
      stockActual: 1.25,
      unidad: "kg",
      precioVenta: 9999.99,
      precioCosto: null,
      isActive: true,
    });
    assert.deepEqual(data.insight.extraData, of);
    assert.deepEqual(data.producto, {
      nombre: "Queso",
      insights: { totalCount: 1, nodes: [{ id }] },
    });
    assert.deepEqual(data.productos, { nodes: [{ id: producto, insights: { totalCount: 2 } }] });
  });

  it("show no product of another store, and survive rows of other programs", async () => {
    const { tienda, user } = await owner();
    const foreign = await addProduct(db.pool, await addStore(db.pool), { nombre: "Ajeno" });
    for (const extra of [
      { producto_id: foreign },
      { producto_id: "7" },
      { producto_id: { a: 1 } },
      [1],
      "texto",
      null,
    ]) {
      await addInsight(tienda, { extra });
    }
    await db.pool.query(
      "update public.insights set extra_data = null where tienda_id = $1 and extra_data = '{}'",
      [tienda],
    );
    const { data, errors } = await api.ask(
      user,
      "{ insights { nodes { extraData producto { nombre } } } }",
    );
    assert.deepEqual(errors, []);
    assert.deepEqual(
      data.insights.nodes.map((node: { producto: unknown }) => node.producto),
      Array(6).fill(null),
    );
  });

  it("are null for an id that the store does not have", async () => {
    const { user } = await owner();
    const { data, errors } = await api.ask(
      user,
      `{ insight(id: "${randomUUID()}") { id } producto(id: "${randomUUID()}") { id } refreshRequest(id: "${randomUUID()}") { id } }`,
    );
    assert.deepEqual([data, errors], [{ insight: null, producto: null, refreshRequest: null }, []]);
  });

  it("are counted by state, type and urgency", async () => {
    const { tienda, user } = await owner();
    await addInsight(tienda, { nivel: "BAJA", tipo: "VENTAS_DIARIAS" });
    await addInsight(tienda, { nivel: "CRITICA" });
    await addInsight(tienda, { nivel: "ALTA", active: false });
    const stats =
      "{ insightStats { total active archived byTipo { key count } byUrgencia { key count } } }";
    assert.deepEqual((await api.ask(user, stats)).data.insightStats, {
      total: 3,
      active: 2,
      archived: 1,
      byTipo: [
        { key: "STOCK_BAJO", count: 2 },
        { key: "VENTAS_DIARIAS", count: 1 },
      ],
      byUrgencia: [
        { key: "CRITICA", count: 1 },
        { key: "ALTA", count: 1 },
        { key: "BAJA", count: 1 },
      ],
    });
    assert.deepEqual((await api.ask((await owner()).user, stats)).data.insightStats, {
      total: 0,
      active: 0,
      archived: 0,
      byTipo: [],
      byUrgencia: [],
    });
  });
});
