set local role nexus_owner;

-- Stores on which some work could not be done, because another session keeps rows of theirs locked: each
-- is left alone until retry_at, so that the others need not wait for the same lock again. Unlogged: a
-- crash ends all those sessions.
create unlogged table nexus_engine.store_held_up (
  tienda_id uuid not null,
  work text not null check (work in ('stock', 'refresh', 'rollups')),
  -- The first of these attempts, and how many there were.
  since timestamptz not null,
  attempts integer not null,
  retry_at timestamptz not null,
  -- When it was last told who is in front.
  told_at timestamptz,
  primary key (tienda_id, work)
) with (fillfactor = 50);

grant insert, update, delete on nexus_engine.store_held_up to nexus_worker;
