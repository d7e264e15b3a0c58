-- What everything that isolates a failing store shares: reconcile_isolated and roll_up_isolated.

-- Whether an error of this SQLSTATE says nothing about the data, so that the same may succeed later:
-- connection, serialization, resources, locks, cancellation, system; and while the engine may not work what that
-- explains (see src/database/suspension.ts): no right to the rows, or no such view, function, column, type or schema.
create or replace function nexus_engine.is_passing(sqlstate text) returns boolean
language sql stable
as $$
  select case
    when left(sqlstate, 2) in ('08', '40', '53', '55', '57', '58', 'XX') then true
    when sqlstate in ('42501', '42P01', '42883', '42703', '42704', '3F000', '0A000') then nexus_engine.suspension() is not null
    else false end
$$;

-- Enters stores for which this type (ROLLUP: the rollups) failed at p_at.
create or replace function nexus_engine.note_store_failure(
  p_tipo text, p_tiendas uuid[], p_sqlstate text, p_message text, p_at timestamptz
) returns void language sql
as $$
  insert into nexus_engine.store_failure as f (tienda_id, tipo, sqlstate, message, first_at, last_at)
  select t, p_tipo, p_sqlstate, p_message, p_at, p_at from unnest(p_tiendas) t
  on conflict (tienda_id, tipo) do update
    set sqlstate = excluded.sqlstate, message = excluded.message, last_at = excluded.last_at,
      occurrences = case when f.resolved_at is null then f.occurrences + 1 else 1 end,
      first_at = case when f.resolved_at is null then f.first_at else excluded.first_at end,
      resolved_at = null
$$;

-- What failed for these stores has succeeded.
create or replace function nexus_engine.resolve_store_failure(p_tipo text, p_tiendas uuid[], p_at timestamptz)
returns void language sql
as $$
  update nexus_engine.store_failure f set resolved_at = p_at
  where f.tipo = p_tipo and f.tienda_id = any (p_tiendas) and f.resolved_at is null
$$;

-- What looks again after it has waited for a lock wants a snapshot a statement.
-- Errors: NX004 in another isolation; p_caller names who cannot work so.
create or replace function nexus_engine.require_read_committed(p_caller text) returns void
language plpgsql
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception '%: expected transaction isolation read committed, got %',
      p_caller, current_setting('transaction_isolation') using errcode = 'NX004';
  end if;
end;
$$;
