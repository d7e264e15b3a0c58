-- Tells who listens to these stores what became of their insights, when the transaction commits.
-- One NOTIFY a store, on a channel of its own, with ids only:
--   {"new": [ids], "changed": [ids], "resolved": [ids]}, or {"many": true} for more than 100.
-- Call it with everything that a transaction did, and not at all when it did nothing: commits that
-- notify take turns.
create or replace function nexus_engine.announce(p_announcements nexus_engine.announcement[])
returns void language sql
as $$
  select pg_notify('nexus_store:' || s.tienda_id, case when s.n > 100 then '{"many": true}' else s.kinds::text end)
  from (
    select k.tienda_id, sum(k.n) as n, jsonb_object_agg(k.kind, k.ids) as kinds
    from (
      select a.tienda_id, a.kind, count(*) as n, (array_agg(a.insight_id))[:100] as ids
      from unnest(p_announcements) a group by a.tienda_id, a.kind
    ) k
    group by k.tienda_id
  ) s
$$;
