import { randomUUID } from "node:crypto";
import fc from "fast-check";

/** What the POS, its owners and our workers do at the same time. A pick chooses among what there is. */

const pick = fc.nat(99);
const stock = fc.constantFrom(-2, 0, 1, 3, 4, 5, 8, 10, 15, 40, 60, "NaN", "Infinity");
const amount = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 999_999 }).map((cents) => cents / 100) },
  { weight: 1, arbitrary: fc.constantFrom("NaN", 1e300, -5.25, 0.005) },
);
const hoursAgo = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 0, max: 1000 }).map((tenths) => tenths / 10) },
  { weight: 1, arbitrary: fc.constantFrom(0, 0.17, 24 * 40, -5, -30) },
);
const status = fc.constantFrom("pagado", "pendiente", "anulado");
const method = fc.constantFrom("efectivo", "tarjeta_debito", "vale");

export type PosStep =
  | {
      do: "checkout";
      store: number;
      hoursAgo: number;
      status: string;
      method: string;
      lines: [number, number | string][];
    }
  | { do: "sell"; product: number; units: number }
  | { do: "restock"; product: number; stock: number | string }
  | { do: "switch"; product: number; active: boolean }
  | { do: "rename"; product: number; name: string }
  | { do: "delete product"; product: number }
  | { do: "dismiss" | "delete insight"; insight: number }
  | { do: "clear"; store: number }
  | { do: "status"; ticket: number; status: string }
  | { do: "total"; ticket: number; total: number | string }
  | { do: "move date"; ticket: number; hoursAgo: number }
  | { do: "move store"; ticket: number; store: number }
  | { do: "delete ticket"; ticket: number }
  | { do: "add line"; ticket: number; product: number; units: number | string }
  | { do: "change line"; line: number; units: number | string }
  | { do: "move line"; line: number; ticket: number; product: number }
  | { do: "delete line"; line: number };

const one = <T extends string>(name: T) => fc.constant(name);

const posStep: fc.Arbitrary<PosStep> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: one("checkout"),
      store: pick,
      hoursAgo,
      status,
      method,
      lines: fc.array(fc.tuple(pick, amount), { maxLength: 3 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: one("sell"),
      product: pick,
      units: fc.integer({ min: 1, max: 12 }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: one("restock"), product: pick, stock }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: one("switch"), product: pick, active: fc.boolean() }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: one("rename"),
      product: pick,
      name: fc.constantFrom("Yerba", "Harina", "Azúcar"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: one("delete product"), product: pick }) },
  { weight: 3, arbitrary: fc.record({ do: one("dismiss"), insight: pick }) },
  { weight: 1, arbitrary: fc.record({ do: one("delete insight"), insight: pick }) },
  { weight: 1, arbitrary: fc.record({ do: one("clear"), store: pick }) },
  { weight: 2, arbitrary: fc.record({ do: one("status"), ticket: pick, status }) },
  { weight: 2, arbitrary: fc.record({ do: one("total"), ticket: pick, total: amount }) },
  { weight: 2, arbitrary: fc.record({ do: one("move date"), ticket: pick, hoursAgo }) },
  { weight: 2, arbitrary: fc.record({ do: one("move store"), ticket: pick, store: pick }) },
  { weight: 1, arbitrary: fc.record({ do: one("delete ticket"), ticket: pick }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: one("add line"), ticket: pick, product: pick, units: amount }),
  },
  { weight: 2, arbitrary: fc.record({ do: one("change line"), line: pick, units: amount }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: one("move line"), line: pick, ticket: pick, product: pick }),
  },
  { weight: 1, arbitrary: fc.record({ do: one("delete line"), line: pick }) },
);

export type Transaction = { steps: PosStep[]; pauses: number[]; end: "commit" | "rollback" };

const pauses = fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 4, maxLength: 4 });
const transaction: fc.Arbitrary<Transaction> = fc.record({
  steps: fc.array(posStep, { minLength: 1, maxLength: 4 }),
  pauses,
  end: fc.oneof(
    { weight: 5, arbitrary: fc.constant("commit" as const) },
    { weight: 1, arbitrary: fc.constant("rollback" as const) },
  ),
});

export type WorkerStep = {
  do:
    | "reconcile"
    | "reconcile stock"
    | "force"
    | "drain"
    | "roll up"
    | "check stock"
    | "check rollups"
    | "purge"
    | "read";
  store: number;
  pause: number;
};

const workerStep: fc.Arbitrary<WorkerStep> = fc.record({
  do: fc.constantFrom(
    "reconcile" as const,
    "reconcile stock" as const,
    "force" as const,
    "drain" as const,
    "drain" as const,
    "roll up" as const,
    "roll up" as const,
    "check stock" as const,
    "check rollups" as const,
    "purge" as const,
    "read" as const,
  ),
  store: pick,
  pause: fc.integer({ min: 0, max: 12 }),
});

export type OwnerStep =
  | { do: "settings"; store: number; settings: Record<string, unknown>; pause: number }
  | { do: "own threshold"; product: number; low: number | null; pause: number }
  | { do: "close store" | "open store"; store: number; pause: number }
  | { do: "drop triggers" | "attach" | "refit triggers"; pause: number };

const pause = fc.integer({ min: 0, max: 20 });
const ownerStep: fc.Arbitrary<OwnerStep> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: one("settings"),
      store: pick,
      settings: fc.constantFrom<Record<string, unknown>>(
        { low_stock_threshold: 4 },
        { low_stock_threshold: 18 },
        { low_stock_threshold: 50 },
        { low_stock_threshold: null },
        { critical_threshold: 1 },
        { muted_types: ["STOCK_BAJO"] },
        { muted_types: null },
        { day_starts_at: "03:15:30" },
        { day_starts_at: null },
        { summary_time: "03:15:30" },
        { time_zone: "Pacific/Chatham" },
        { counted_pending_methods: ["vale", "efectivo"] },
        { counted_pending_methods: null },
      ),
      pause,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: one("own threshold"),
      product: pick,
      low: fc.constantFrom(null, 0, 8, 50, 100),
      pause,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: one("close store"), store: pick, pause }) },
  { weight: 1, arbitrary: fc.record({ do: one("open store"), store: pick, pause }) },
  { weight: 1, arbitrary: fc.record({ do: one("drop triggers"), pause }) },
  { weight: 1, arbitrary: fc.record({ do: one("attach"), pause }) },
  { weight: 1, arbitrary: fc.record({ do: one("refit triggers"), pause }) },
);

/** What runs at the same time, each list on a connection of its own, one after the other in itself. */
export type Round = { pos: Transaction[][]; workers: WorkerStep[][]; owner: OwnerStep[] };

export const round: fc.Arbitrary<Round> = fc.record({
  pos: fc.array(fc.array(transaction, { minLength: 1, maxLength: 5, size: "max" }), {
    minLength: 2,
    maxLength: 3,
  }),
  workers: fc.array(fc.array(workerStep, { minLength: 2, maxLength: 7, size: "max" }), {
    minLength: 1,
    maxLength: 2,
  }),
  owner: fc.array(ownerStep, { maxLength: 3, size: "max" }),
});

export type Shops = { stores: string[]; products: string[] };

const chosen = (table: string, parameter: string) =>
  `(select id from ${table} order by id offset (${parameter}::int % greatest(1, (select count(*) from ${table}))) limit 1)`;

/** The statements of a step of the POS. */
export function statements(step: PosStep, shops: Shops): [string, ...unknown[]][] {
  const at = (hours: number) => new Date(Date.now() - hours * 3_600_000);
  const store = (n: number) => shops.stores[n % shops.stores.length];
  const product = (n: number) => shops.products[n % shops.products.length];
  const ticket = chosen("public.ventas", "$1");
  const line = chosen("public.detalles_venta", "$1");
  switch (step.do) {
    case "checkout": {
      const venta = randomUUID();
      return [
        [
          "insert into public.ventas (id, fecha, total, metodo_pago, status_pago, created_at, tienda_id) values ($1, $2, $3, $4, $5, $2, $6)",
          venta,
          at(step.hoursAgo),
          step.lines.reduce((sum, [, units]) => sum + Number(units), 0),
          step.method,
          step.status,
          store(step.store),
        ],
        ...step.lines.map(([n, units]): [string, ...unknown[]] => [
          "insert into public.detalles_venta values ($1, $2, 1, $2, $3, $4)",
          randomUUID(),
          units,
          venta,
          product(n),
        ]),
        ...step.lines.map(([n]): [string, ...unknown[]] => [
          "update public.productos set stock_actual = stock_actual - 1 where id = $1",
          product(n),
        ]),
      ];
    }
    case "sell":
      return [
        [
          "update public.productos set stock_actual = stock_actual - $2 where id = $1",
          product(step.product),
          step.units,
        ],
      ];
    case "restock":
      return [
        [
          "update public.productos set stock_actual = $2 where id = $1",
          product(step.product),
          step.stock,
        ],
      ];
    case "switch":
      return [
        [
          "update public.productos set is_active = $2 where id = $1",
          product(step.product),
          step.active,
        ],
      ];
    case "rename":
      return [
        ["update public.productos set nombre = $2 where id = $1", product(step.product), step.name],
      ];
    case "delete product":
      return [["delete from public.productos where id = $1", product(step.product)]];
    case "dismiss":
      return [
        [
          `update public.insights set is_active = false where id = ${chosen("public.insights", "$1")}`,
          step.insight,
        ],
      ];
    case "delete insight":
      return [
        [`delete from public.insights where id = ${chosen("public.insights", "$1")}`, step.insight],
      ];
    case "clear":
      return [["delete from public.insights where tienda_id = $1", store(step.store)]];
    case "status":
      return [
        [
          `update public.ventas set status_pago = $2 where id = ${ticket}`,
          step.ticket,
          step.status,
        ],
      ];
    case "total":
      return [
        [`update public.ventas set total = $2 where id = ${ticket}`, step.ticket, step.total],
      ];
    case "move date":
      return [
        [
          `update public.ventas set fecha = $2 where id = ${ticket}`,
          step.ticket,
          at(step.hoursAgo),
        ],
      ];
    case "move store":
      return [
        [
          `update public.ventas set tienda_id = $2 where id = ${ticket}`,
          step.ticket,
          store(step.store),
        ],
      ];
    case "delete ticket":
      return [
        [`delete from public.detalles_venta where venta_id = ${ticket}`, step.ticket],
        [
          `delete from public.ventas v where v.id = ${ticket} and not exists (select from public.detalles_venta l where l.venta_id = v.id)`,
          step.ticket,
        ],
      ];
    case "add line":
      // A line comes with its ticket's total, as the rollups want it.
      return [
        [`update public.ventas set total = total + 1 where id = ${ticket}`, step.ticket],
        [
          `insert into public.detalles_venta select $2, $3, 1, $3, v.id, $4 from public.ventas v where v.id = ${ticket}`,
          step.ticket,
          randomUUID(),
          step.units,
          product(step.product),
        ],
      ];
    case "change line":
      return [
        [
          `update public.detalles_venta set cantidad = $2, subtotal = $2 where id = ${line}`,
          step.line,
          step.units,
        ],
      ];
    case "move line":
      return [
        [
          `update public.detalles_venta set producto_id = $2, venta_id = v.id
           from (select ${chosen("public.ventas", "$3")} as id) v
           where v.id is not null and detalles_venta.id = ${line}`,
          step.line,
          product(step.product),
          step.ticket,
        ],
      ];
    case "delete line":
      return [[`delete from public.detalles_venta where id = ${line}`, step.line]];
  }
}
