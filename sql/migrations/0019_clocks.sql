set local role nexus_owner;

-- When one of the workers last looked after something; see nexus_engine.take_look.
create table nexus_engine.look (
  what text primary key,
  looked_at timestamptz not null,
  -- The transactions from this one on are newer than the look.
  next_xid xid8
);

-- Tickets that were inserted with a date of half an hour ago or more, until the next look at the POS's clock.
create unlogged table nexus_engine.late_ticket (
  tienda_id uuid not null,
  behind interval not null
);

-- The stores whose new tickets are not dated when they arrive, see nexus_engine.look_at_pos_clock.
create table nexus_engine.pos_clock (
  tienda_id uuid primary key,
  -- How far ahead the POS's clock is, negative when behind; null while that is not certain.
  minutes integer,
  -- How far the latest tickets say that it is, and how many.
  seen_minutes integer not null,
  tickets integer not null,
  -- From two on they cannot be those of a till that was offline and sends them all at once.
  weight integer not null
);

-- Workers that take no work, because their machine's clock is not Postgres's.
create unlogged table nexus_engine.worker_clock (
  host text not null,
  pid integer not null,
  ahead_ms bigint not null,
  noted_at timestamptz not null,
  primary key (host, pid)
);

grant select, insert, update, delete on nexus_engine.look, nexus_engine.late_ticket, nexus_engine.pos_clock,
  nexus_engine.worker_clock to nexus_worker;
