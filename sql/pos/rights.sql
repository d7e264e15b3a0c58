-- What our roles may do on the POS's tables, a row for each right; with columns, on those alone. Never
-- users.hashed_password. Read before anything of ours is there (src/database/rights-wanted.ts), and by
-- nexus_engine.missing_grants().
select r.role, t.relation, p.privilege, null::text[] as columns
from unnest(array['nexus_owner', 'nexus_worker']) r (role)
cross join (values
  ('tiendas', array['select']), ('productos', array['select']), ('ventas', array['select']),
  ('detalles_venta', array['select']), ('insights', array['select', 'insert', 'update', 'delete'])
) t (relation, privileges)
cross join lateral unnest(t.privileges) p (privilege)
union all
select 'nexus_owner', 'users', 'select', array['id', 'is_active', 'tienda_id']
