import { randomUUID } from "node:crypto";
import type { Pool } from "pg";
import type { TestDatabase } from "../support/database.ts";

export type Logins = {
  /** The POS's own, which owns its tables and runs the migrations; no superuser. */
  pos: string;
  /** As WORKER_DATABASE_URL and SERVER_DATABASE_URL name them. */
  jobs: string;
  api: string;
  drop(): Promise<void>;
};

/** Makes one login of each kind, whose password is its name, in a database that everybody may create in. */
export async function addLogins(db: TestDatabase): Promise<Logins> {
  const suffix = randomUUID().slice(0, 8);
  const [pos, jobs, api] = [`pos_${suffix}`, `jobs_${suffix}`, `api_${suffix}`];
  await db.pool.query(`
    create role ${pos} login createrole password '${pos}';
    create role ${jobs} login password '${jobs}' in role nexus_worker;
    create role ${api} login password '${api}' in role nexus_server;
    grant nexus_owner, nexus_worker, nexus_server, nexus_tienda, nexus_ops to ${pos} with admin option;
    grant create on database "${new URL(db.url).pathname.slice(1)}" to ${pos};
    alter schema public owner to ${pos};
    -- As in every database that was made before PostgreSQL 15.
    grant create on schema public to public`);
  await ownTables(db.pool, pos);
  return {
    pos,
    jobs,
    api,
    async drop() {
      await ownTables(db.pool, "current_user");
      for (const login of [jobs, api, pos]) {
        await db.pool.query(`drop owned by ${login} cascade`);
        await db.pool.query(`drop role ${login}`);
      }
    },
  };
}

async function ownTables(pool: Pool, owner: string): Promise<void> {
  await pool.query(`
    do $$ declare it record; begin
      for it in select c.oid::regclass as name from pg_catalog.pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname in
          ('tiendas', 'users', 'productos', 'ventas', 'detalles_venta', 'insights')
      loop execute format('alter table %s owner to %s', it.name, '${owner}'); end loop;
    end $$`);
}
