-- What the files of engine, insights and api have made, and making it anew from their texts.

-- Held by whoever applies them: src/database/migrate.ts, attach() and detach().
create or replace function nexus_engine.migration_lock() returns bigint
language sql immutable parallel safe
as $$
  select 7041948523
$$;

-- Every function, view and table of ours, and every trigger on our tables.
create or replace function nexus_engine.own_objects() returns table (type text, identity text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with ours as (select n.oid from pg_namespace n where n.nspname in ('nexus_engine', 'nexus_api'))
  select i.type, i.identity
  from (
    select 'pg_proc'::regclass as class, p.oid from pg_proc p where p.pronamespace in (select oid from ours)
    union all
    select 'pg_class', c.oid from pg_class c where c.relnamespace in (select oid from ours) and c.relkind in ('v', 'r', 'p')
    union all
    select 'pg_trigger', t.oid from pg_trigger t
    join pg_class c on c.oid = t.tgrelid
    where c.relnamespace in (select oid from ours) and not t.tgisinternal
  ) o
  cross join lateral pg_identify_object(o.class, o.oid, 0) i
$$;

-- Remembers what there is: after all files were applied, that is what they make. A table that is gone is not forgotten,
-- because no file makes it anew: a migration that drops one deletes its row.
create or replace function nexus_engine.note_objects() returns void
language sql
as $$
  delete from nexus_engine.made_object m where m.type <> 'table';
  insert into nexus_engine.made_object (type, identity) select o.type, o.identity from nexus_engine.own_objects() o
  on conflict do nothing;
$$;

-- What was made and is not there any more, because somebody dropped it, and is made anew: not tables.
create or replace function nexus_engine.missing_objects() returns table (type text, identity text)
language sql stable
as $$
  select m.type, m.identity from nexus_engine.made_object m where m.type <> 'table'
  except
  select o.type, o.identity from nexus_engine.own_objects() o
$$;

-- Our tables that somebody dropped.
create or replace function nexus_engine.missing_tables() returns setof text
language sql stable
as $$
  select m.identity from nexus_engine.made_object m
  where m.type = 'table' and to_regclass(m.identity) is null order by m.identity
$$;

-- What an operator does about those: what they held is in a backup only.
create or replace function nexus_engine.table_remedy() returns text
language sql immutable parallel safe
as $$
  select 'restore what is missing from a backup, or make all of it anew: npm run export, npm run detach -- --all, npm start, npm run import'
$$;

-- Applies all files again, as src/database/migrate.ts does: as nexus_owner, in the same order and with the
-- same settings. All of them: that takes less than the second that it may, and which of them are needed depends
-- on what was dropped with what. Views are dropped first, because one of other columns is not replaced.
create or replace function nexus_engine.apply_texts() returns void
language plpgsql set search_path = '' set check_function_bodies = off set client_min_messages = warning
set standard_conforming_strings = on set "DateStyle" = 'ISO, MDY' set "TimeZone" = 'UTC' set "IntervalStyle" = 'postgres'
as $$
declare
  usual text := current_setting('role');
  file record;
  state text;
  problem text;
begin
  perform pg_advisory_xact_lock(nexus_engine.migration_lock());
  perform set_config('role', 'nexus_owner', true);
  select string_agg(t, ', ') into problem from nexus_engine.missing_tables() t;
  if problem is not null then
    raise exception '% is missing: %', problem, nexus_engine.table_remedy() using errcode = '42P01';
  end if;
  perform nexus_engine.try_for_locks('select nexus_engine.drop_bound_objects()');
  for file in
    select m.name, m.text from nexus_engine.migration m
    where m.text is not null and split_part(m.name, '/', 1) in ('engine', 'insights', 'api')
    order by array_position(array['engine', 'insights', 'api'], split_part(m.name, '/', 1)), m.name collate "C"
  loop
    begin
      execute file.text;
    exception when others then
      -- Not the text, which Postgres would show.
      get stacked diagnostics state = returned_sqlstate, problem = message_text;
      raise exception 'sql/%: %', file.name, problem using errcode = state;
    end;
  end loop;
  perform nexus_engine.set_rights();
  perform nexus_engine.note_objects();
  perform set_config('role', usual, true);
end;
$$;
