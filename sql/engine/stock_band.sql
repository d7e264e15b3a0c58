-- When stock is low: bands, units and thresholds.

-- The band of a stock that nexus_engine.quantity gave: 0 enough, 1 MEDIA, 2 ALTA, 3 CRITICA, 4 out; 0 for
-- what is no number.
create or replace function nexus_engine.quantity_band(stock numeric, low numeric, critical numeric)
returns int language sql immutable parallel safe
return case
  when stock > low or stock is null then 0
  when stock <= 0 then 4
  when stock <= critical then 3
  when stock <= low / 2 then 2
  else 1
end;

-- The same of what the POS holds. Most products have plenty, which takes no rounding to see: what rounds to
-- low_level or less is less than a thousandth above it. The names of these functions are bound when they are
-- made, because on_stock_change has the search_path of whoever sells.
create or replace function nexus_engine.stock_band(
  stock double precision, low_level double precision, critical_level double precision
) returns int language sql immutable parallel safe
return case
  when stock > low_level + 0.001 or stock is null then 0
  else nexus_engine.quantity_band(nexus_engine.quantity(stock), low_level::numeric, critical_level::numeric)
end;

-- Whether it is band 4, whatever the thresholds; for triggers, which pay for each word of it.
create or replace function nexus_engine.is_out(stock double precision)
returns boolean language sql immutable parallel safe
return coalesce(stock < 0.001 and nexus_engine.quantity(stock) <= 0, false);

-- What a product's quantities are in: 'unidad', or of weighed goods 'kg', 'g', 'lt' or 'ml', kilos where the
-- POS says nothing that is known.
create or replace function nexus_engine.unit_of(producto_tipo text, atributos jsonb)
returns text language sql immutable parallel safe
as $$
  select case
    when producto_tipo <> 'pesable' then 'unidad'
    when atributos ->> 'unidad_medida' in ('kg', 'g', 'lt', 'ml') then atributos ->> 'unidad_medida'
    else 'kg'
  end
$$;

-- The same by id.
create or replace function nexus_engine.unit_of_product(p_producto_id uuid)
returns text language sql stable parallel safe
as $$
  select nexus_engine.unit_of(p.tipo::text, p.atributos) from public.productos p where p.id = p_producto_id
$$;

-- The thresholds of a store that has set none.
create or replace function nexus_engine.default_low_threshold() returns numeric
language sql immutable parallel safe
as $$
  select 10::numeric
$$;
create or replace function nexus_engine.default_critical_threshold() returns numeric
language sql immutable parallel safe
as $$
  select 3::numeric
$$;

-- The highest threshold that a store or a product may have: a ton in grams.
create or replace function nexus_engine.highest_threshold() returns numeric
language sql immutable parallel safe
as $$
  select 1000000::numeric
$$;

-- Up to which stock the triggers note what happens to a product: a literal of their conditions, the same
-- whatever a store sets, so that no setting changes a trigger or what the sales of other stores cost.
-- Stores with a threshold above it are looked at whole, see nexus_engine.dispatch_unseen. Each sale of a product
-- that lies between the usual threshold and this pays for a look-up, half of what noting it takes: hence not
-- higher, and hence twice the usual one, to which most owners who change theirs will raise it.
create or replace function nexus_engine.seen_up_to() returns double precision
language sql immutable parallel safe
as $$
  select 20::double precision
$$;
