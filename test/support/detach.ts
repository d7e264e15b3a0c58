import { migrate } from "../../src/database/migrate.ts";
import { createLog } from "../../src/log.ts";
import type { TestDatabase } from "./database.ts";

/** Takes everything of ours off the POS's columns. */
export async function detach({ pool }: TestDatabase): Promise<void> {
  await pool.query(`select nexus_engine.detach();
    drop view if exists nexus_engine.store, nexus_engine.product_level, nexus_engine.sale, nexus_engine.own_producto,
      nexus_engine.own_insight, nexus_api.insights, nexus_api.tiendas cascade`);
}

/** Puts it back. */
export async function attach({ pool, url }: TestDatabase): Promise<void> {
  await pool.query("delete from nexus_engine.migration where name not like 'migrations/%'");
  await migrate(url, createLog("silent"));
  await pool.query("select nexus_engine.attach()");
}
