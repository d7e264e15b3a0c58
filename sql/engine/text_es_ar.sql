-- Numbers and dates as a shop owner in Argentina writes them. None of these depends on the
-- server's locale: the patterns hold literal separators, which are then swapped. Those that call
-- to_char are stable, as to_char is: declared immutable they could not be inlined.

-- 1234.5 with 2 decimals: '1.234,50'.
create or replace function nexus_engine.es_number(value numeric, decimals int)
returns text language sql stable parallel safe
as $$
  select translate(
    to_char(round(value, decimals), 'FM999,999,999,999,990' || case when decimals > 0 then '.' || repeat('0', decimals) else '' end),
    ',.', '.,')
$$;

-- Pesos: '$ 1.234,50', '-$ 3,00'.
create or replace function nexus_engine.es_money(pesos numeric)
returns text language sql stable parallel safe
as $$
  select case when pesos < 0 then '-$ ' else '$ ' end || nexus_engine.es_number(abs(pesos), 2)
$$;

-- A quantity in this unit (see nexus_engine.unit_of): '3,5 kg', '1 unidad', '8 unidades'. The value comes
-- from nexus_engine.quantity, so its scale is what there is to show.
create or replace function nexus_engine.es_amount(value numeric, unidad text)
returns text language sql stable parallel safe
as $$
  select case when abs(value) < 1000 then translate(value::text, '.', ',') else nexus_engine.es_number(value, scale(value)) end
    || case when unidad <> 'unidad' then ' ' || unidad when value = 1 then ' unidad' else ' unidades' end
$$;

-- A change in percent, one decimal: '+12,3 %', '-4,0 %', '0,0 %'.
create or replace function nexus_engine.es_change(percent numeric)
returns text language sql stable parallel safe
as $$
  select case when percent > 0 then '+' else '' end || nexus_engine.es_number(percent, 1) || ' %'
$$;

create or replace function nexus_engine.es_weekday(day date)
returns text language sql immutable parallel safe
as $$
  select (array['lunes', 'martes', 'miércoles', 'jueves', 'viernes', 'sábado', 'domingo'])[extract(isodow from day)::int]
$$;

-- '24/11'.
create or replace function nexus_engine.es_day(day date)
returns text language sql stable parallel safe
as $$
  select to_char(day::timestamp, 'DD/MM')
$$;

-- An instant for extra_data, in UTC whatever the session's time zone: '2026-11-24T23:00:00Z'.
create or replace function nexus_engine.iso_utc(at timestamptz)
returns text language sql stable parallel safe
as $$
  select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
$$;

-- How much `now` differs from `before`, in percent with one decimal; null without a base.
create or replace function nexus_engine.change_percent(now numeric, before numeric)
returns numeric language sql immutable parallel safe
as $$
  select case when before > 0 then round((now - before) * 100 / before, 1) end
$$;

-- Order of urgency, most urgent first: CRITICA 1, ALTA 2, MEDIA 3, BAJA 4, anything else 5.
create or replace function nexus_engine.urgencia_rank(nivel_urgencia text)
returns int language sql immutable parallel safe
as $$
  select case nivel_urgencia when 'CRITICA' then 1 when 'ALTA' then 2 when 'MEDIA' then 3 when 'BAJA' then 4 else 5 end
$$;
