-- Takes p_cost from the allowances of a user and of the user's store, before the mutations run and
-- in a transaction of its own: what fails later has counted, and nobody waits for a mutation that is
-- slow. Returns 0, or how many seconds to wait, and then nothing was taken.
--   p_user_limit, p_store_limit: the cost that a minute gives back, and the most there is at once.
--   p_as_of: by the clock of Postgres, because those of several processes need not agree.
create or replace function nexus_engine.take_mutations(
  p_user_id uuid, p_cost int, p_user_limit int, p_store_limit int,
  p_as_of timestamptz default clock_timestamp()
) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  whole constant interval := interval '1 minute';
  store uuid;
  allowance record;
  wait interval;
begin
  select u.tienda_id into store from public.users u where u.id = p_user_id;
  insert into nexus_engine.mutation_allowance (kind, id, full_at)
  select k.kind, k.id, p_as_of from (values ('user', p_user_id), ('store', store)) k (kind, id)
  where k.id is not null
  on conflict do nothing;

  -- The user's first: who has used it up never touches the row that the whole store shares.
  for allowance in
    select * from (values
      ('user', p_user_id, nexus_engine.mutation_time(p_cost, p_user_limit)),
      ('store', store, nexus_engine.mutation_time(p_cost, p_store_limit))) a (kind, id, taken)
  loop
    select greatest(m.full_at, p_as_of) + allowance.taken - (p_as_of + whole) into wait
    from nexus_engine.mutation_allowance m
    where m.kind = allowance.kind and m.id = allowance.id
    for update;
    if wait > interval '0' then
      return ceil(extract(epoch from wait));
    end if;
  end loop;

  update nexus_engine.mutation_allowance m
  set full_at = greatest(m.full_at, p_as_of) + nexus_engine.mutation_time(
    p_cost, case m.kind when 'user' then p_user_limit else p_store_limit end)
  where (m.kind = 'user' and m.id = p_user_id) or (m.kind = 'store' and m.id = store);
  return 0;
end;
$$;

-- How long it takes until this cost is given back; rounded down, so that the parts of an allowance
-- are never more than the whole.
create or replace function nexus_engine.mutation_time(p_cost int, p_limit int)
returns interval language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select make_interval(secs => floor(p_cost * 60e6 / p_limit) / 1e6)
$$;
grant execute on function nexus_engine.take_mutations(uuid, int, int, int, timestamptz) to nexus_server;
revoke execute on function nexus_engine.take_mutations(uuid, int, int, int, timestamptz) from nexus_worker;
