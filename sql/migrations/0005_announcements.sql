set local role nexus_owner;

-- What became of one insight: 'new', 'changed' or 'resolved'.
create type nexus_engine.announcement as (
  tienda_id uuid,
  insight_id uuid,
  kind text
);
