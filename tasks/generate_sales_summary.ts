import { defineDispatcher } from "../src/worker/dispatch.ts";

/** Every 5 minutes: VENTAS_DIARIAS for the stores whose business day has ended. */
export default defineDispatcher("generate_sales_summary", ["VENTAS_DIARIAS"]);
