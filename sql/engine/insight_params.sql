-- The one place that says what a type's params may be.

-- Null where this text is no interval.
create or replace function nexus_engine.as_interval(p_text text) returns interval
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return p_text::interval;
exception when data_exception then
  return null;
end;
$$;

-- Refuses params of which a job would fail later. Those that the engine reads of a type of kind `period` (see
-- nexus_engine.due_periods_v2) have their ranges; any other keeps the JSON type that it had, and stays an interval
-- where it was one. Params that are not changed are not looked at, so that a row from before this check can be mended
-- step by step.
-- Errors: NX001, with the name of the param.
create or replace function nexus_engine.check_params() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  was jsonb := case when tg_op = 'UPDATE' then old.params else '{}' end;
  it record;
begin
  if jsonb_typeof(new.params) <> 'object' then
    raise exception 'params: expected an object, got %', new.params
      using errcode = 'NX001', column = 'params', detail = format('Type %s.', new.tipo);
  end if;
  for it in
    select p.name, p.value, case
      when new.kind = 'period' and p.name = 'max_age' and (p.span between interval '0' and interval '366 days') is not true
        or new.kind = 'period' and p.name = 'settle' and p.value is not null
          and (p.span between interval '0' and interval '366 days') is not true
        then 'an interval from 0 to 366 days, such as "3 days"'
      when new.kind = 'period' and p.name = 'kept_true' and p.value is not null
        and (jsonb_typeof(p.value) = 'number' and p.value::text ~ '^\d+$' and p.value between '1' and '366') is not true
        then 'a whole number from 1 to 366'
      when jsonb_typeof(p.was) <> jsonb_typeof(p.value) then 'a JSON ' || jsonb_typeof(p.was)
      when p.was_span is not null and p.span is null and p.value is not null then 'an interval, such as "3 days"'
    end as expected
    from (
      select u.name, o.value as was, n.value,
        case when jsonb_typeof(o.value) = 'string' then nexus_engine.as_interval(o.value #>> '{}') end as was_span,
        case when jsonb_typeof(n.value) = 'string' then nexus_engine.as_interval(n.value #>> '{}') end as span
      from (select jsonb_object_keys(was) union select jsonb_object_keys(new.params)) u (name)
      left join jsonb_each(was) o on o.key = u.name
      left join jsonb_each(new.params) n on n.key = u.name
      where o.value is distinct from n.value
    ) p
    order by p.name
  loop
    if it.expected is not null then
      raise exception 'params.%: expected %, got %', it.name, it.expected, coalesce(it.value::text, 'nothing')
        using errcode = 'NX001', column = 'params.' || it.name, detail = format('Type %s.', new.tipo);
    end if;
  end loop;
  return new;
end;
$$;

create or replace trigger check_params
before insert or update of params on nexus_engine.insight_type
for each row execute function nexus_engine.check_params();
