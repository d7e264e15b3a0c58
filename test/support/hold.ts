import type { Pool } from "pg";

/** Keeps every refresh from ending, without a lock, until what this returns is called. */
export async function holdRefreshes(pool: Pool): Promise<() => Promise<void>> {
  await pool.query(`
    create table if not exists public.hold (refreshes boolean);
    grant select on public.hold to public;
    insert into public.hold values (true);
    create or replace function public.hold_refresh() returns trigger language plpgsql as $$
    begin
      while exists (select from public.hold) loop perform pg_sleep(0.02); end loop;
      return new;
    end $$;
    create or replace trigger hold_refresh before insert on nexus_engine.stock_told
    for each row execute function public.hold_refresh()`);
  return async () => {
    await pool.query("delete from public.hold");
  };
}
