-- How the reconciler sees what changed of a type of kind `state` without composing what did not: it
-- compares each finding's content_key with the content_hash that open_insight remembers.

-- What contents follow beside content_key: the text of the type's functions and of the engine's (es_money
-- and the like), and the type's params. Mixed into each content_hash, so that after a change of them
-- every content is composed once more, and told where it says something else.
create or replace function nexus_engine.composition(p_tipo text) returns bigint
language sql stable
as $$
  select hashtextextended(concat_ws(' ',
    array(
      select p.prosrc from pg_catalog.pg_proc p
      where p.proname = 'insight_' || lower(t.tipo) and p.pronamespace = 'nexus_engine'::regnamespace
      order by p.pronargs),
    t.params,
    array(select m.sha256 from nexus_engine.migration m where m.name like 'engine/%' order by m.name)), 0)
  from nexus_engine.insight_type t
  where t.tipo = p_tipo
$$;

-- A content_key, or the beginning of one, for what is said of a product.
create or replace function nexus_engine.product_content(
  tienda_id uuid, id uuid, nombre text, sku text, unidad text, stock numeric
) returns bigint language sql immutable parallel safe
as $$
  select hash_numeric_extended(stock, hashtextextended(nombre,
    hashtextextended(sku, hashtextextended(unidad, uuid_hash_extended(id, uuid_hash_extended(tienda_id, 0))))))
$$;

-- The next two are dynamic, and so planned for the number of stores there are. Findings by the ten
-- thousand are read in the order in which the tables hold them and joined by hash: that takes half the
-- time of index scans and nested loops, and is never quadratic where statistics are older than the rows.

-- Where the findings of p_speaking and what is remembered of p_tiendas differ, by content_hash alone:
-- the hashes that only findings have (one without a content_key has null), the subjects of which only
-- the memory has the hash, and the stores of both; null stores when nothing differs.
-- Of a finding only its store and content_key are read, and so its function, being inlined, composes
-- nothing.
create or replace function nexus_engine.difference(
  p_tipo text, p_tiendas uuid[], p_speaking uuid[], p_as_of timestamptz, p_composition bigint,
  out tiendas uuid[], out content_hashes bigint[], out remembered nexus_engine.finding[]
) language plpgsql set enable_indexscan = off set enable_nestloop = off
as $$
begin
  execute format($sql$
    select array_agg(distinct coalesce(f.tienda_id, o.tienda_id)),
      array_agg(f.content_hash) filter (where f.tienda_id is not null),
      array_agg(row(o.tienda_id, o.subject, null, null, null, null)::nexus_engine.finding) filter (where o.tienda_id is not null)
    from (select i.tienda_id, i.content_key # $4 as content_hash from nexus_engine.%I($2, $3) i) f
    full join (
      select k.tienda_id, k.subject, k.content_hash from nexus_engine.open_insight k
      where k.tipo = $5 and k.tienda_id = any ($1)
    ) o on o.content_hash = f.content_hash
    where f.tienda_id is null or o.tienda_id is null
  $sql$, 'insight_' || lower(p_tipo))
  into tiendas, content_hashes, remembered using p_tiendas, p_speaking, p_as_of, p_composition, p_tipo;
end;
$$;

-- The findings that differ, with their contents, and content_hash as their content_key; without a
-- mensaje those that are gone. It looks later than `difference` did: what was remembered and changed in
-- between is as it is now, and what is new since then is left to the next pass.
-- Returned as an array: joined to the insights in place, the planner expects one row and loops, and
-- each message is composed twice, once for the comparison and once for the row.
create or replace function nexus_engine.compose_findings(
  p_tipo text, p_tiendas uuid[], p_as_of timestamptz, p_composition bigint,
  p_content_hashes bigint[], p_remembered nexus_engine.finding[]
) returns nexus_engine.finding[]
language plpgsql set enable_indexscan = off set enable_nestloop = off
as $$
declare
  composed nexus_engine.finding[];
begin
  execute format($sql$
    select array_agg(row(
      coalesce(f.tienda_id, o.tienda_id), coalesce(f.subject, o.subject),
      f.nivel_urgencia, f.mensaje, f.extra_data, f.content_key # $3)::nexus_engine.finding)
    from (
      select i.* from nexus_engine.%I($1, $2) i
      where (i.content_key # $3) = any ($4) or i.content_key is null or i.subject = any ($5)
    ) f
    full join unnest($6) o on o.tienda_id = f.tienda_id and o.subject = f.subject
  $sql$, 'insight_' || lower(p_tipo))
  into composed
  using p_tiendas, p_as_of, p_composition, p_content_hashes,
    array(select o.subject from unnest(p_remembered) o), p_remembered;
  return composed;
end;
$$;
