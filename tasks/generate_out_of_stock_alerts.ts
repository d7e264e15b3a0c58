import { defineDispatcher } from "../src/worker/dispatch.ts";

/** Every 15 minutes: products without stock, in every active store. */
export default defineDispatcher("generate_out_of_stock_alerts", ["PRODUCTO_SIN_STOCK"]);
