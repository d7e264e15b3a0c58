-- The POS's clock, as its tickets tell it. A POS process in a time zone other than UTC stores its naive UTC
-- times as local ones: from Argentina each ticket lands three hours in the future, and is missing from today
-- until then. The POS sends created_at as it sends fecha, so only our own looks tell when a ticket came.

-- A ticket inserted so long after its date, for the next look. Older ones were sold offline, or imported. It cannot
-- fail the sale.
create or replace function nexus_engine.note_late_ticket(p_tienda_id uuid, p_fecha timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into nexus_engine.late_ticket (tienda_id, behind)
  select p_tienda_id, clock_timestamp() - p_fecha where p_fecha > clock_timestamp() - interval '15 hours';
exception when others then
  raise warning 'nexus: a late sale was not noted: %', sqlerrm;
end;
$$;

-- The tickets that came between two looks, as far as they are dated near them, and how many minutes
-- ahead of their coming they are dated; 0 for those that are on time. Found by the POS's own index on fecha.
create or replace function nexus_engine.arrived_tickets(p_from xid8, p_to xid8)
returns table (tienda_id uuid, ahead double precision) language sql volatile set row_security = off
as $$
  with late as (delete from nexus_engine.late_ticket returning *)
  select v.tienda_id, case when v.fecha > now() + interval '10 minutes' then extract(epoch from v.fecha - now()) / 60 else 0 end
  from public.ventas v
  where v.fecha > now() - interval '10 minutes' and v.fecha < now() + interval '15 hours'
    and age(v.xmin) between age(p_to::xid) + 1 and age(p_from::xid)
  union all
  select l.tienda_id, extract(epoch from l.behind) / -60 from late l
$$;

-- Looks once a minute, whichever worker comes first, at the tickets that came since the look before. A store's
-- POS is off by what most of its tickets say, when three or more in a row agree to within three minutes; and
-- right again likewise. Tickets of the past may be those of a till that was offline and sends them all at once,
-- unless they came in two looks, or are all late by the same quarters of an hour, as only a time zone is.
--   returns what is worth saying: each number of minutes by which no store's POS was off before, and those
--   by which none is any more.
create or replace function nexus_engine.look_at_pos_clock()
returns table (minutes int, is_over boolean, message text) language plpgsql set row_security = off
as $$
declare
  turn record;
  before int[];
  after int[];
begin
  select * into turn from nexus_engine.take_look('the POS''s clock', '50 seconds');
  if not turn.taken then
    return;
  end if;
  if turn.last_at is null or turn.last_at < now() - interval '2 minutes' or turn.last_at > now() then
    -- Of what came meanwhile nobody knows when.
    delete from nexus_engine.late_ticket;
    return;
  end if;
  before := nexus_engine.pos_clock_minutes();
  insert into nexus_engine.pos_clock as c (tienda_id, seen_minutes, tickets, weight)
  select s.tienda_id, s.ahead, s.agree, case when s.ahead >= 0 or s.is_zone then 2 else 1 end
  from (
    select m.tienda_id, round(m.ahead) as ahead, count(*) as tickets,
      count(*) filter (where abs(a.ahead - m.ahead) <= 3) as agree,
      bool_and(abs(a.ahead - 15 * round(a.ahead / 15)) < 0.3) filter (where abs(a.ahead - m.ahead) <= 3) as is_zone
    from (
      select a.tienda_id, percentile_disc(0.5) within group (order by a.ahead) as ahead, array_agg(a.ahead) as each
      from nexus_engine.arrived_tickets(turn.last_xid, turn.next_xid) a
      group by a.tienda_id
    ) m
    cross join lateral unnest(m.each) a (ahead)
    group by m.tienda_id, m.ahead
  ) s
  where s.agree * 2 > s.tickets
    -- Whoever is on time, as he was, has no row.
    and (s.ahead <> 0 or exists (select from nexus_engine.pos_clock k where k.tienda_id = s.tienda_id))
  on conflict (tienda_id) do update set
    seen_minutes = case when abs(c.seen_minutes - excluded.seen_minutes) <= 3 then c.seen_minutes else excluded.seen_minutes end,
    tickets = case when abs(c.seen_minutes - excluded.seen_minutes) <= 3 then least(c.tickets, 1000) else 0 end + excluded.tickets,
    weight = case when abs(c.seen_minutes - excluded.seen_minutes) <= 3 then least(c.weight, 2) else 0 end + excluded.weight;
  -- A look sees a ticket up to a minute after it came.
  update nexus_engine.pos_clock c
  set minutes = nullif(5 * round(c.seen_minutes / 5.0), 0)
  where c.tickets >= 3 and c.weight >= 2
    and c.minutes is distinct from nullif(5 * round(c.seen_minutes / 5.0), 0);
  delete from nexus_engine.pos_clock c
  where c.minutes is null and c.seen_minutes = 0
    or not exists (select from public.tiendas t where t.id = c.tienda_id and t.is_active);
  after := nexus_engine.pos_clock_minutes();
  return query
  select m, m <> all (after), nexus_engine.pos_clock_message(m)
  from unnest(before || after) m
  where m <> all (before) or m <> all (after);
end;
$$;

-- By how many minutes the POS of any store is off.
create or replace function nexus_engine.pos_clock_minutes() returns int[]
language sql stable
as $$
  select array(select distinct c.minutes from nexus_engine.pos_clock c where c.minutes is not null order by 1)
$$;

-- What operators are told of it: likely cause and cure.
create or replace function nexus_engine.pos_clock_message(p_minutes int) returns text
language sql immutable
as $$
  select format('the POS dates its tickets %s minutes %s: %s',
    abs(p_minutes),
    case when p_minutes > 0 then 'in the future, so that today''s are missing from the sales until then' else 'in the past' end,
    case when p_minutes % 15 = 0
      then 'its process most likely runs in a time zone other than UTC; start the POS with TZ=UTC in its environment'
      else 'the clock of its machine is most likely wrong; set it right (by NTP)' end)
$$;

-- What is wrong with the clocks, for readiness: each a code and a sentence, without names, as anybody may ask.
create or replace function nexus_engine.clock_warnings() returns table (code text, message text)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select 'POS_CLOCK', nexus_engine.pos_clock_message(m) from unnest(nexus_engine.pos_clock_minutes()) m
  union all
  select 'WORKER_CLOCK', format(
    'the clock of a worker''s machine is %s s %s Postgres''s: that worker takes no work until it is set right (by NTP)',
    round(abs(w.ahead_ms) / 1000.0), case when w.ahead_ms > 0 then 'ahead of' else 'behind' end)
  from nexus_engine.worker_clock w
  where w.noted_at > clock_timestamp() - interval '15 seconds'
$$;
grant execute on function nexus_engine.clock_warnings() to nexus_server;
