import { defineDispatcher } from "../src/worker/dispatch.ts";

/** Every 5 minutes: VENTAS_SEMANALES for the stores whose weekly summary is due. */
export default defineDispatcher("generate_weekly_sales_summary", ["VENTAS_SEMANALES"]);
