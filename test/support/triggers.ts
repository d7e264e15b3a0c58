/**
 * Drops our triggers, all or none, with as little waiting as detach(): what it is like while a start has not
 * been able to put them on, and the engine looks at everything instead.
 */
export const dropTriggers = `
  select nexus_engine.try_for_locks($drop$
    do $$
    declare
      it record;
    begin
      for it in
        select o.name, o.relation from nexus_engine.own_trigger o join pg_class c on c.oid = o.relation
        order by array_position(array['productos', 'ventas', 'detalles_venta', 'insights'], c.relname::text)
      loop
        perform nexus_engine.wait_until(clock_timestamp() + interval '10 ms');
        execute format('drop trigger %I on %s', it.name, it.relation);
      end loop;
    end $$
  $drop$)`;
