-- The proof that purge needs before it deletes what is kept about a store or a product: that the POS's tables lacked it
-- at looks a day apart. A table may be empty for minutes, while it is restored. Whoever looks sees every row, or fails:
-- under row_security = off Postgres refuses what a policy would hide.

-- What is kept by store, and for how long after a look missed the store first: a day for what comes back by itself when
-- the store does; 30 for what does not, such as what an owner entered, dismissed or was told. Tables with a tienda_id
-- that are not here forget by themselves.
create or replace function nexus_engine.kept_by_store() returns table (relation name, kept_for interval)
language sql immutable parallel safe
as $$
  values
    ('store_settings'::name, interval '30 days'),
    ('product_settings', interval '30 days'),
    ('open_insight', interval '30 days'),
    ('stock_out', interval '30 days'),
    ('stock_watch', interval '1 day'),
    ('stock_told', interval '1 day'),
    ('stock_recheck', interval '1 day'),
    ('sale_mark', interval '1 day'),
    ('store_failure', interval '1 day'),
    ('product_day', interval '1 day'),
    ('method_day', interval '1 day'),
    ('store_hour', interval '1 day'),
    ('store_day', interval '1 day'),
    ('rollup_state', interval '1 day')
$$;

-- The stores that a table of kept_by_store has, from store to store by index, however many rows each has.
create or replace function nexus_engine.stores_in(p_relation name) returns setof uuid
language plpgsql stable set enable_seqscan = off
as $$
begin
  return query execute format($sql$
    with recursive store (id) as (
      (select g.tienda_id from nexus_engine.%1$I g order by g.tienda_id limit 1)
      union all
      select n.tienda_id
      from store s
      cross join lateral (
        select g.tienda_id from nexus_engine.%1$I g where g.tienda_id > s.id order by g.tienda_id limit 1
      ) n
    )
    select s.id from store s
  $sql$, p_relation);
end;
$$;

-- Whether the subject of a finding is a product that public.productos does not have.
create or replace function nexus_engine.is_missing_product(p_tipo text, p_subject text) returns boolean
language plpgsql stable
as $$
begin
  return case when p_tipo = any (nexus_engine.followed_types())
      and p_subject ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
    then not exists (select from public.productos p where p.id = p_subject::uuid) else false end;
end;
$$;

-- The look: notes at p_as_of what is missing, forgets what is not any more, and gives up the stores that may be.
-- Errors: 42501 when a policy would hide rows.
create or replace function nexus_engine.note_missing(p_as_of timestamptz) returns void
language plpgsql set row_security = off
as $$
declare
  stores uuid[] := array(
    select distinct s.id
    from nexus_engine.kept_by_store() k
    cross join lateral nexus_engine.stores_in(k.relation) s (id)
    where not exists (select from public.tiendas t where t.id = s.id));
  products nexus_engine.product_ref[] := nexus_engine.missing_products();
begin
  delete from nexus_engine.missing_store m where not exists (select from unnest(stores) s where s = m.tienda_id);
  insert into nexus_engine.missing_store as m (tienda_id, first_missing_at, last_missing_at)
  select s, p_as_of, p_as_of from unnest(stores) s order by s
  on conflict (tienda_id) do update set last_missing_at = excluded.last_missing_at
    where m.last_missing_at < excluded.last_missing_at;
  update nexus_engine.missing_store m set given_up_at = p_as_of
  from nexus_engine.stores_to_give_up() g
  where not g.too_many and m.given_up_at is null and m.last_missing_at - m.first_missing_at >= interval '1 day';

  delete from nexus_engine.missing_product m
  where not exists (select from unnest(products) p where p.tienda_id = m.tienda_id and p.producto_id = m.producto_id);
  insert into nexus_engine.missing_product as m (tienda_id, producto_id, first_missing_at, last_missing_at)
  select p.tienda_id, p.producto_id, p_as_of, p_as_of from unnest(products) p order by p.tienda_id, p.producto_id
  on conflict (tienda_id, producto_id) do update set last_missing_at = excluded.last_missing_at
    where m.last_missing_at < excluded.last_missing_at;
end;
$$;

-- The products that are missing, of stores that are not, and about which an owner has entered or dismissed something.
create or replace function nexus_engine.missing_products() returns nexus_engine.product_ref[]
language plpgsql stable set row_security = off
as $$
begin
  return array(
    select distinct row(k.tienda_id, k.producto_id)::nexus_engine.product_ref
    from (
      select ps.tienda_id, ps.producto_id from nexus_engine.product_settings ps
      union all
      select o.tienda_id, case when o.subject ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then o.subject::uuid end
      from nexus_engine.open_insight o where o.tipo = any (nexus_engine.followed_types())
    ) k
    join public.tiendas t on t.id = k.tienda_id
    where k.producto_id is not null and not exists (select from public.productos p where p.id = k.producto_id));
end;
$$;

-- The stores that are proved to be gone and that nobody has given up yet: how many; of how many stores; whether that is
-- more than may go without an operator's word, which is a tenth, and more than one, or all there are.
--   noted_until: for nexus_engine.confirm_missing_stores.
create or replace function nexus_engine.stores_to_give_up(
  out gone int, out known int, out noted_until timestamptz, out too_many boolean
) language sql stable set row_security = off
as $$
  select c.gone, c.seen + c.missing, c.noted_until, c.gone > 0 and (c.seen = 0 or c.gone > 1 and c.gone * 10 > c.seen + c.missing)
  from (
    select (count(*) filter (where p.is_proved))::int as gone, count(*)::int as missing,
      max(m.first_missing_at) filter (where p.is_proved) as noted_until,
      (select count(*) from public.tiendas)::int as seen
    from nexus_engine.missing_store m
    cross join lateral (select m.last_missing_at - m.first_missing_at >= interval '1 day' as is_proved) p
    where m.given_up_at is null
  ) c
$$;

-- The stores of which what is kept for so long is to be deleted: given up, missing at the look of p_as_of too, and at
-- no look between.
create or replace function nexus_engine.gone_stores(p_as_of timestamptz, p_kept_for interval) returns setof uuid
language sql stable
as $$
  select m.tienda_id from nexus_engine.missing_store m
  where m.given_up_at is not null and m.last_missing_at >= p_as_of
    and m.last_missing_at - m.first_missing_at >= greatest(p_kept_for, interval '1 day')
$$;

-- The same of products.
create or replace function nexus_engine.gone_products(p_as_of timestamptz) returns setof nexus_engine.missing_product
language sql stable
as $$
  select m.* from nexus_engine.missing_product m
  where m.last_missing_at >= p_as_of and m.last_missing_at - m.first_missing_at >= interval '30 days'
$$;

-- An operator's word that the stores which have been missing since p_noted_until or longer were deleted by the POS: the
-- next purge deletes what is kept about them, as soon as each has been missing for a day, their settings after 30.
-- To be called by an owner. purge tells the argument. Returns how many stores that are.
-- Errors: NX001 for a time that no warning has named.
create or replace function nexus_engine.confirm_missing_stores(p_noted_until timestamptz) returns int
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  confirmed int;
begin
  if not exists (
    select from nexus_engine.missing_store m
    where m.first_missing_at = p_noted_until and m.last_missing_at - m.first_missing_at >= interval '1 day')
  then
    raise exception 'noted_until: expected the time that the warning of purge names, got %', coalesce(p_noted_until::text, 'null')
      using errcode = 'NX001', column = 'noted_until';
  end if;
  update nexus_engine.missing_store m set given_up_at = now()
  where m.given_up_at is null and m.first_missing_at <= p_noted_until;
  get diagnostics confirmed = row_count;
  return confirmed;
end;
$$;
revoke execute on function nexus_engine.confirm_missing_stores(timestamptz) from nexus_worker;

-- What operators are told while stores wait for their word; null when none do.
create or replace function nexus_engine.missing_stores_warning() returns text
language sql stable
as $$
  select format(
    '%s of %s stores have been missing from public.tiendas for a day or longer: too many for purge to delete what is kept about them without an operator''s word.'
    ' If their rows are hidden or are being restored, mend that, and this ends by itself.'
    ' If the POS did delete them, call as an owner: select nexus_engine.confirm_missing_stores(%L);'
    ' Which they are: select * from nexus_engine.missing_store;',
    g.gone, g.known, to_char(g.noted_until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
  from nexus_engine.stores_to_give_up() g
  where g.too_many
$$;

-- The same for readiness: without numbers, as anybody may ask, and without a look at the POS's tables, which may be
-- why they are missing. A store that is proved to be gone and not given up is one that purge has refused.
create or replace function nexus_engine.missing_stores_refused() returns table (code text, message text)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select 'MISSING_STORES',
    'stores are missing from public.tiendas, too many for purge to delete what is kept about them: select * from nexus_engine.missing_store shows which, and the warning of purge in the log of the worker says what to do'
  where exists (
    select from nexus_engine.missing_store m
    where m.given_up_at is null and m.last_missing_at - m.first_missing_at >= interval '1 day')
$$;
grant execute on function nexus_engine.missing_stores_refused() to nexus_server;
