-- Taking everything of ours off the POS's tables, without owning them and with hardly anybody waiting.

-- Takes away whatever of ours binds the POS's tables and columns, so that the POS may alter and drop them: our
-- triggers, with their functions, and the views that show its columns, with the functions that return rows of those.
-- An index of ours binds nothing and stays, so that a migration of the POS does not cost building it anew. Notes it:
-- until attach() deletes the note the engine rests, a start puts nothing back, and sales leave no trace with us.
-- Repeating it changes nothing.
-- Call it as a member of nexus_owner, in a transaction that ends soon: those who sell wait for that.
-- Errors: 55P03 when the POS keeps its tables locked for long, with who does; 2BP01 where somebody else's view reads one of
-- ours. Nothing is changed then.
create or replace function nexus_engine.detach() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  -- Before all locks: a start that is about to attach has locked this first, and waits for the others.
  insert into nexus_engine.detached (since) values (now()) on conflict do nothing;
  -- A start that is about to apply our texts makes views.
  perform pg_advisory_xact_lock(nexus_engine.migration_lock());
  perform pg_advisory_xact_lock(nexus_engine.rollups_lock());
  perform nexus_engine.forget_rollups();
  perform nexus_engine.try_for_locks('select nexus_engine.drop_bound_objects(), nexus_engine.drop_own_triggers()');
end;
$$;

-- The views of ours that show columns of the POS's tables, themselves or through another one, and the functions
-- that have rows of such a view among their arguments and results, in the order in which they can be dropped. That is the order
-- in which whoever reads them locks them.
create or replace function nexus_engine.bound_objects() returns table (kind text, name text, place bigint)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with recursive read (oid, depth) as (
    select c.oid, 0 from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
    union
    select v.oid, r.depth + 1
    from read r
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = r.oid and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite w on w.oid = d.objid
    join pg_class v on v.oid = w.ev_class and v.oid <> r.oid
    where v.relnamespace in ('nexus_engine'::regnamespace, 'nexus_api'::regnamespace)
  ),
  shown as (
    select r.oid, max(r.depth) as depth from read r where r.depth > 0 group by r.oid
  )
  select o.kind, o.name, row_number() over (order by o.kind, o.depth desc, o.name)
  from (
    select 'view' as kind, format('%s', s.oid::regclass) as name, s.depth from shown s
    union
    select 'function', format('%s', f.oid::regprocedure), 0
    from shown s
    join pg_type t on t.typrelid = s.oid
    join pg_depend d on d.classid = 'pg_proc'::regclass and (
      d.refclassid = 'pg_type'::regclass and d.refobjid in (t.oid, t.typarray)
      or d.refclassid = 'pg_class'::regclass and d.refobjid = s.oid)
    join pg_proc f on f.oid = d.objid
    where f.pronamespace in ('nexus_engine'::regnamespace, 'nexus_api'::regnamespace)
  ) o
$$;

-- Drops them within half a second, or none. Only ours read them, and wait for us: for less than the second after
-- which Postgres would end one of two that wait for each other.
create or replace function nexus_engine.drop_bound_objects() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  ends_at timestamptz := clock_timestamp() + interval '500 ms';
begin
  perform nexus_engine.execute_until(ends_at, array(
    select format('drop %s %s', b.kind, b.name) from nexus_engine.bound_objects() b order by b.place));
end;
$$;

-- Drops all our triggers, or none where the locks are not had within 25 ms, and with them their functions: who owns
-- a function may, who does not own the table may not drop a trigger alone. The order is that in which a checkout
-- comes to the tables, one function each: the time goes into waiting, not into dropping the others.
create or replace function nexus_engine.drop_own_triggers() returns void
language plpgsql set search_path = pg_catalog, pg_temp set client_min_messages = warning
as $$
declare
  ends_at timestamptz := clock_timestamp() + interval '25 ms';
begin
  perform nexus_engine.execute_until(ends_at, array(
    select format('drop function %s cascade', f.name)
    from (
      select t.tgfoid::regprocedure as name, array_agg(distinct o.place order by o.place) as places
      from pg_trigger t
      join pg_class c on c.oid = t.tgrelid and c.relnamespace = 'public'::regnamespace
      join pg_proc p on p.oid = t.tgfoid and p.pronamespace = 'nexus_engine'::regnamespace
      left join unnest(array['productos', 'ventas', 'detalles_venta', 'insights']) with ordinality o (relation, place)
        on o.relation = c.relname
      group by t.tgfoid
    ) f
    order by row_number() over (partition by f.places order by f.name::text), f.places));
end;
$$;

-- Our indexes on the POS's tables, for npm run detach, whose transaction has the locks. Who does not own them leaves them.
create or replace function nexus_engine.drop_pos_indexes() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  index regclass;
begin
  for index in
    select c.oid from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('i', 'I') and c.relname like 'nexus\_%'
      and pg_has_role(c.relowner, 'usage')
  loop
    execute format('drop index %s', index);
  end loop;
end;
$$;

-- Has statements wait for locks until this instant at most.
create or replace function nexus_engine.wait_until(p_at timestamptz) returns void
language plpgsql
as $$
begin
  -- Zero would be no limit at all.
  perform set_config('lock_timeout', greatest(ceil(extract(epoch from p_at - clock_timestamp()) * 1000), 1) || 'ms', true);
end;
$$;

-- Runs statements in this order, each of which waits for its locks until this instant at most.
create or replace function nexus_engine.execute_until(p_at timestamptz, p_statements text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  statement text;
begin
  foreach statement in array p_statements loop
    perform nexus_engine.wait_until(p_at);
    execute statement;
  end loop;
end;
$$;

-- Runs a statement that wants locks and waits for them for moments only, all or none of it, until it has them.
-- Whoever uses the tables waits behind us while we wait: so that is 25 ms at a time, with growing pauses; a sale
-- hardly notices, and none is ever the one that Postgres ends for a deadlock. Gives up after lock_timeout, a minute
-- without one. Without LOCK TABLE, which needs rights that who puts triggers on does not.
-- Errors: 55P03, with who is in the way.
create or replace function nexus_engine.try_for_locks(p_statement text) returns void
language plpgsql
as $$
declare
  usual text := current_setting('lock_timeout');
  patience interval := coalesce(nullif(usual::interval, interval '0'), interval '1 minute');
  began_at timestamptz := clock_timestamp();
  gives_up_at timestamptz := began_at + patience;
  pause double precision := 0.1;
begin
  loop
    begin
      execute p_statement;
      perform set_config('lock_timeout', usual, true);
      return;
    exception when lock_not_available then
      if clock_timestamp() + pause * interval '1 second' >= gives_up_at then
        raise exception e'nothing was changed: the POS''s tables were in use for % s without a pause that was long enough. %',
          round(extract(epoch from clock_timestamp() - began_at)::numeric, 1),
          -- Who only reads is in the way of who drops, not of who makes triggers.
          nexus_engine.describe_holders(p_statement not like '%make_all_triggers%')
          using errcode = 'lock_not_available';
      end if;
    end;
    perform pg_sleep(pause * (0.75 + random() / 2));
    pause := least(pause * 2, 1);
  end loop;
end;
$$;

-- Who else has locks on the POS's tables or on our views of them, at most five, the oldest transaction first, and what
-- to do. Not the text of a statement: it has data in it. Of another role's session Postgres shows little to
-- who is no member of pg_read_all_stats.
create or replace function nexus_engine.describe_holders(p_readers boolean) returns text
language sql set search_path = pg_catalog, pg_temp
as $$
  with held as (
    select l.pid, bool_or(c.relname = 'detached') as is_ours, bool_or(c.relname <> 'detached') as is_in_the_way
    from pg_locks l
    join pg_class c on c.oid = l.relation
    join pg_namespace n on n.oid = c.relnamespace
    where l.granted and l.pid <> pg_backend_pid()
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
      and (n.nspname = 'nexus_engine' and c.relname = 'detached'
        or (p_readers or l.mode not in ('AccessShareLock', 'RowShareLock')) and (
          n.nspname in ('nexus_engine', 'nexus_api') and c.relkind = 'v'
          or n.nspname = 'public' and c.relname in ('tiendas', 'users', 'productos', 'ventas', 'detalles_venta', 'insights')))
    group by l.pid
  ),
  holder as (
    select a.pid, a.xact_start,
      format('pid %s (%s%s, %s, %s, transaction since %s)', a.pid, coalesce(nullif(a.application_name, ''), 'no application_name'),
        case when h.is_ours or a.application_name like 'nexus-%' then ', of the engine' end,
        coalesce(a.usename, 'unknown login'), coalesce(a.state, 'unknown state'),
        coalesce(to_char(a.xact_start at time zone 'utc', 'yyyy-mm-dd"T"hh24:mi:ss"Z"'), 'an unknown time')) as line
    from held h join pg_stat_activity a on a.pid = h.pid
    where h.is_in_the_way
    order by a.xact_start limit 5
  )
  select case when count(*) = 0 then 'Call it again.' else
    format(e'In the way:\n  %s\nCall it again when these transactions have ended, or end them: select pg_terminate_backend(%s)',
      string_agg(o.line, e'\n  ' order by o.xact_start), (array_agg(o.pid order by o.xact_start))[1]) end
  from holder o
$$;
