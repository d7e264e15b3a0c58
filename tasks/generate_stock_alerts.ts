import { defineDispatcher } from "../src/worker/dispatch.ts";

/** Every 30 minutes: low stock, in every active store. Both types, because a product moves between them. */
export default defineDispatcher("generate_stock_alerts", ["STOCK_BAJO", "PRODUCTO_SIN_STOCK"]);
