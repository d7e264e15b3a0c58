import { defineDispatcher } from "../src/worker/dispatch.ts";

/** Hourly and at start-up: every type, in every active store. */
export default defineDispatcher("generate_all_insights", null);
