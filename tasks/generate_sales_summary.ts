import { defineDispatcher } from "../src/worker/dispatch.ts";

/** Every 5 minutes: VENTAS_DIARIAS for the stores that are due a summary, its completion or a correction. */
export default defineDispatcher("generate_sales_summary", ["VENTAS_DIARIAS"]);
