-- Change marks: which business days must be rolled up again. A ticket dated in the last moments, or by the
-- transaction that writes it, lies in a day that is still open and leaves no mark: the usual checkout
-- writes nothing of ours. That is safe because a day is rolled up only once every transaction that could
-- have thought it open has ended (see nexus_engine.note_horizon).

-- How old a ticket's date may be for its changes to go without a mark; older ones are marked, unless they
-- are inserted by the transaction whose time they have.
create or replace function nexus_engine.unmarked_for() returns interval
language sql immutable parallel safe
as $$
  select interval '10 minutes'
$$;

-- How long after its end a day is rolled up. The difference is for a clock that is set back.
create or replace function nexus_engine.rolled_up_after() returns interval
language sql immutable parallel safe
as $$
  select interval '15 minutes'
$$;

-- Marks the hour of a ticket, unless its date is of the last moments or this transaction did so with
-- its last mark. Cannot fail the sale: what goes wrong with the insert is a warning, and the nightly
-- check finds the difference.
create or replace function nexus_engine.mark_hour(p_tienda_id uuid, p_fecha timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  -- -infinity means everything, which the date of a ticket must not say by mistake; and the last
  -- hour of time has no end.
  hour timestamptz := date_trunc('hour',
    least(greatest(p_fecha, timestamptz '1800-01-01 00:00:00Z'), timestamptz '3100-01-01 00:00:00Z'), 'UTC');
  mark text := p_tienda_id || ' ' || hour;
begin
  if p_fecha >= clock_timestamp() - nexus_engine.unmarked_for() or mark = current_setting('nexus.marked', true) then
    return;
  end if;
  begin
    insert into nexus_engine.sale_mark (tienda_id, at) values (p_tienda_id, hour);
    perform set_config('nexus.marked', mark, true);
  exception when others then
    raise warning 'nexus: a changed sale was not noted: %', sqlerrm;
  end;
end;
$$;

-- After the insert of a ticket that is dated before its own transaction (the trigger's condition: it asks
-- no clock, which takes two to three times as long), and after any update or delete of one: marks the hours of its
-- date before and after.
create or replace function nexus_engine.on_sale_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'UPDATE' and (old.tienda_id, old.fecha, old.created_at, old.total, old.metodo_pago, old.status_pago)
    is not distinct from (new.tienda_id, new.fecha, new.created_at, new.total, new.metodo_pago, new.status_pago) then
    return null;
  end if;
  if tg_op <> 'INSERT' then
    perform nexus_engine.mark_hour(old.tienda_id, old.fecha);
  end if;
  if tg_op <> 'DELETE' then
    perform nexus_engine.mark_hour(new.tienda_id, new.fecha);
  end if;
  if tg_op = 'INSERT' and new.fecha < current_timestamp - interval '30 minutes' then
    perform nexus_engine.note_late_ticket(new.tienda_id, new.fecha);
  end if;
  return null;
end;
$$;

-- Marks a ticket whose lines changed. The ticket, not its date: another transaction may be moving
-- that at this moment. A ticket that is gone was marked when it was deleted. To be called as well by
-- a script that adds lines to old tickets and changes nothing of the tickets themselves.
-- The POS's sessions have row_security on, under which a ticket that is hidden from us would be one that is gone.
-- So it is off here, and where that is refused nobody can tell whose ticket it was: every store is marked.
create or replace function nexus_engine.mark_ticket(p_venta_id uuid) returns void
language plpgsql set row_security = off
as $$
begin
  if p_venta_id::text = current_setting('nexus.marked', true) or current_setting('nexus.all_marked', true) = 'on' then
    return;
  end if;
  begin
    insert into nexus_engine.sale_mark (tienda_id, venta_id)
    select v.tienda_id, v.id from public.ventas v where v.id = p_venta_id;
    perform set_config('nexus.marked', p_venta_id::text, true);
  exception
    when insufficient_privilege then
      perform nexus_engine.mark_all();
      perform set_config('nexus.all_marked', 'on', true);
    when others then
      raise warning 'nexus: a changed line of a sale was not noted: %', sqlerrm;
  end;
end;
$$;

-- Marks everything of every store. Cannot fail the sale.
create or replace function nexus_engine.mark_all() returns void
language plpgsql
as $$
begin
  insert into nexus_engine.sale_mark (tienda_id, at)
  select r.tienda_id, '-infinity' from nexus_engine.rollup_state r;
exception when others then
  raise warning 'nexus: changed sales were not noted: %', sqlerrm;
end;
$$;

-- After a line was updated or deleted. An insert has no trigger, because three lines would cost each
-- checkout more than everything else of ours: a new line comes with its ticket, or with a change of
-- the ticket's total, and those leave marks.
-- No view of ours binds the columns of lines, so the POS may change their types while tills are connected: rows are
-- compared whole and by their bytes (*=), because the plan of a comparison of columns would fail then in
-- sessions that have it. It cannot fail the write: what goes wrong is a warning.
create or replace function nexus_engine.on_line_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'UPDATE' and old *= new then
    return null;
  end if;
  perform nexus_engine.mark_ticket(old.venta_id);
  if tg_op = 'UPDATE' and new.venta_id <> old.venta_id then
    perform nexus_engine.mark_ticket(new.venta_id);
  end if;
  return null;
exception when others then
  raise warning 'nexus: a changed line of a sale was not noted: %', sqlerrm;
  return null;
end;
$$;

-- After a truncate.
create or replace function nexus_engine.on_sales_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform nexus_engine.mark_all();
  return null;
end;
$$;
