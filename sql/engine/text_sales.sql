-- How a summary words what was sold, for an owner in Argentina.

-- 'vendiste $ 1.234,50 en 12 tickets (promedio $ 102,88)'. Refunds, tickets with a negative total, are said as
-- such: 'vendiste $ 900,00 en 3 tickets y devolviste $ 500,00 en 1 ticket: quedaron $ 400,00'.
--   total, tickets: with the refunds; see nexus_engine.sold_by_day_v2.
create or replace function nexus_engine.es_sold(total numeric, tickets bigint, refunds bigint, refunded numeric)
returns text language sql stable parallel safe
as $$
  select case when tickets > refunds
      then 'vendiste ' || nexus_engine.es_money(total + refunded) || ' en ' || nexus_engine.es_tickets(tickets - refunds)
        || case when refunds > 0 or tickets = 1 then ''
             else ' (promedio ' || nexus_engine.es_money(round(total / tickets, 2)) || ')' end
      else 'no vendiste' end
    || case when refunds > 0
      then ' y devolviste ' || nexus_engine.es_money(refunded) || ' en ' || nexus_engine.es_tickets(refunds)
        || case when tickets > refunds then ': quedaron ' || nexus_engine.es_money(total) else '' end
      else '' end
$$;

create or replace function nexus_engine.es_tickets(tickets bigint)
returns text language sql stable parallel safe
as $$
  select nexus_engine.es_number(tickets, 0) || case when tickets = 1 then ' ticket' else ' tickets' end
$$;

-- A sentence about money that may still be missing, with a space before it; nothing when there is none.
create or replace function nexus_engine.es_pending(pending numeric)
returns text language sql stable parallel safe
as $$
  select case when pending > 0 then ' De ese total, ' || nexus_engine.es_money(pending)
    || ' todavía no figuran como cobrados (tarjetas, transferencias).' else '' end
$$;

-- The sign that goes with a change in percent, null where there is nothing to compare with.
create or replace function nexus_engine.es_trend(change numeric)
returns text language sql immutable parallel safe
as $$
  select case when change > 0 then '📈' when change < 0 then '📉' else '📊' end
$$;
