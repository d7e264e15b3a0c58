set local role nexus_owner;

-- Which insights may name a product, but for those that open_insight has as the product's. A row may outlive
-- its insight; none is missing while there is a row in product_insight_known.
create table nexus_engine.product_insight (
  producto_id uuid not null,
  insight_id uuid not null,
  primary key (producto_id, insight_id)
);

-- One row once every insight has been looked at since the trigger is there.
create table nexus_engine.product_insight_known (
  only_one boolean primary key default true check (only_one),
  since timestamptz not null default now()
);

grant insert, delete on nexus_engine.product_insight, nexus_engine.product_insight_known to nexus_worker;
