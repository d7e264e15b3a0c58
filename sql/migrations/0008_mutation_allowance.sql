set local role nexus_owner;

-- Mutations of users and of stores, as a leaky bucket: full_at is when the whole allowance is there
-- again. A row whose time has passed says what no row says. Unlogged: a crash gives everyone a full
-- allowance, and taking from it writes no WAL and waits for no disk.
create unlogged table nexus_engine.mutation_allowance (
  kind text not null check (kind in ('user', 'store')),
  id uuid not null,
  full_at timestamptz not null,
  primary key (kind, id)
) with (fillfactor = 50);
grant delete on nexus_engine.mutation_allowance to nexus_worker;
