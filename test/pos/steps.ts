import { randomUUID } from "node:crypto";
import fc from "fast-check";
import type { Conversation } from "./conversation.ts";
import {
  annul,
  type Caller,
  checkout,
  createProduct,
  deleteForGood,
  patchProduct,
  webhookPayment,
} from "./endpoints.ts";
import { clearAll, dismiss, refresh, stats } from "./insights.ts";
import { read, reports } from "./reads.ts";

/** A random day of two stores, and the conversation of each step: the same ids and times on either side. */

const pick = fc.nat(99);
const stock = fc.constantFrom(0, 0, 1, 2, 3, 4, 5, 8, 10, 11, 25, 400);
const metodo = fc.constantFrom("efectivo", "tarjeta_debito", "tarjeta_credito", "transferencia");
const one = <T extends string>(name: T) => fc.constant(name);

export type PosStep = { store: number } & (
  | { do: "checkout"; lines: [number, number][]; metodo: string }
  | { do: "create"; stock: number; sku: number }
  | { do: "adjust" | "set stock"; product: number; stock: number }
  | { do: "rename"; product: number; name: string }
  | { do: "reprice"; product: number; price: number }
  | { do: "take sku"; product: number; other: number }
  | { do: "delete" | "reactivate" | "delete for good"; product: number }
  | { do: "pay" | "annul"; ticket: number }
  | { do: "read"; report: string }
  | { do: "refresh"; force: boolean }
  | { do: "dismiss"; insight: number }
  | { do: "clear"; onlyArchived: boolean }
  | { do: "stats" }
);

/** What happens to both databases beside the POS. */
export type OtherStep =
  | { do: "engine"; work: "drain" | "pass" | "roll up" }
  | { do: "a day passes" }
  | { do: "dismiss with us"; store: number; insight: number };

export type Step = PosStep | OtherStep;

const store = fc.nat(1);
const weighted: [number, fc.Arbitrary<Step>][] = [
  [
    9,
    fc.record({
      do: one("checkout"),
      store,
      metodo,
      lines: fc.array(fc.tuple(pick, fc.constantFrom(1, 1, 2, 3, 6, 0.25)), {
        minLength: 1,
        maxLength: 3,
      }),
    }),
  ],
  [5, fc.record({ do: one("adjust"), store, product: pick, stock })],
  [1, fc.record({ do: one("set stock"), store, product: pick, stock })],
  [1, fc.record({ do: one("create"), store, stock, sku: fc.nat(20) })],
  [
    2,
    fc.record({ do: one("rename"), store, product: pick, name: fc.constantFrom("Yerba", "Ñoqui") }),
  ],
  [
    2,
    fc.record({
      do: one("reprice"),
      store,
      product: pick,
      price: fc.constantFrom(0.25, 99.5, 5e4),
    }),
  ],
  [1, fc.record({ do: one("take sku"), store, product: pick, other: pick })],
  [2, fc.record({ do: one("delete"), store, product: pick })],
  [2, fc.record({ do: one("reactivate"), store, product: pick })],
  [1, fc.record({ do: one("delete for good"), store, product: pick })],
  [4, fc.record({ do: one("pay"), store, ticket: pick })],
  [2, fc.record({ do: one("annul"), store, ticket: pick })],
  [6, fc.record({ do: one("read"), store, report: fc.constantFrom(...reports) })],
  [6, fc.record({ do: one("refresh"), store, force: fc.constantFrom(false, false, false, true) })],
  [3, fc.record({ do: one("dismiss"), store, insight: pick })],
  [1, fc.record({ do: one("clear"), store, onlyArchived: fc.boolean() })],
  [1, fc.record({ do: one("stats"), store })],
  [
    10,
    fc.record({
      do: one("engine"),
      work: fc.constantFrom(
        "drain" as const,
        "drain" as const,
        "pass" as const,
        "roll up" as const,
      ),
    }),
  ],
  [1, fc.record({ do: one("a day passes") })],
  [2, fc.record({ do: one("dismiss with us"), store, insight: pick })],
];

export const step: fc.Arbitrary<Step> = fc.oneof(
  ...weighted.map(([weight, arbitrary]) => ({ weight, arbitrary })),
);

/** What both databases have, in the order in which it came. Tickets that one refused are not there. */
export type Shop = Caller & { products: string[]; tickets: string[] };

/** Two of these are the same word for word: take one for each side. */
export function conversations(given: PosStep, shop: Shop): () => Conversation {
  const at = new Date();
  const id = randomUUID();
  const from = (list: string[], n: number) => list[n % Math.max(1, list.length)] ?? randomUUID();
  const product = (n: number) => from(shop.products, n);
  switch (given.do) {
    case "checkout": {
      const lines = given.lines.map(([n, cantidad]) => ({
        id: randomUUID(),
        producto: product(n),
        cantidad,
      }));
      return () => checkout(shop, { id, at, metodo: given.metodo, lines });
    }
    case "create":
      return () =>
        createProduct(shop, { id, nombre: "Azúcar", sku: `N${given.sku}`, stock: given.stock, at });
    case "adjust":
      return () => patchProduct(shop, product(given.product), { stock_actual: given.stock }, false);
    case "set stock":
      return () => patchProduct(shop, product(given.product), { stock_actual: given.stock });
    case "rename":
      return () => patchProduct(shop, product(given.product), { nombre: given.name });
    case "reprice":
      return () => patchProduct(shop, product(given.product), { precio_venta: given.price });
    case "take sku":
      return () => patchProduct(shop, product(given.product), { sku: `N${given.other % 20}` });
    case "delete":
      return () => patchProduct(shop, product(given.product), { is_active: false }, false);
    case "reactivate":
      return () => patchProduct(shop, product(given.product), { is_active: true });
    case "delete for good":
      return () => deleteForGood(product(given.product));
    case "pay":
      return () => webhookPayment(from(shop.tickets, given.ticket), `mp-${id}`, at);
    case "annul":
      return () => annul(from(shop.tickets, given.ticket));
    case "read":
      return () => read(shop, given.report, new Date(at.getTime() - 30 * 86_400_000));
    case "refresh":
      return () => refresh(shop, at, given.force);
    case "dismiss":
      return () => dismiss(shop, given.insight);
    case "clear":
      return () => clearAll(shop, given.onlyArchived);
    case "stats":
      return () => stats(shop);
  }
}

/** Of these only the status is the same on both sides: what stands in insights is not. */
export const aboutInsights = (given: PosStep): boolean =>
  ["refresh", "dismiss", "clear", "stats"].includes(given.do);
