-- What is missing or of another kind in the POS's tables: a row for each table and column that we read or
-- write; none when all is well. Asked before anything of ours is there, and by nexus_engine.attach(). The kinds
-- are what a migration of the POS may turn a column into: our SQL casts whatever it reads.
with kind (name, takes) as (
  values
    ('text', 'a text'), ('code', 'a text or an enum'), ('number', 'a number'), ('uuid', 'uuid'),
    ('bool', 'boolean'), ('jsonb', 'jsonb'), ('timestamptz', 'timestamp with time zone')
),
wanted (n, relation, name, kind) as (
  select row_number() over (), w.* from (values
    ('tiendas', 'id', 'uuid'), ('tiendas', 'nombre', 'text'), ('tiendas', 'rubro', 'code'),
    ('tiendas', 'is_active', 'bool'), ('tiendas', 'created_at', 'timestamptz'),
    ('users', 'id', 'uuid'), ('users', 'email', 'text'), ('users', 'full_name', 'text'), ('users', 'rol', 'code'),
    ('users', 'is_active', 'bool'), ('users', 'tienda_id', 'uuid'),
    ('productos', 'id', 'uuid'), ('productos', 'nombre', 'text'), ('productos', 'sku', 'text'),
    ('productos', 'precio_venta', 'number'), ('productos', 'precio_costo', 'number'),
    ('productos', 'stock_actual', 'number'), ('productos', 'tipo', 'code'), ('productos', 'atributos', 'jsonb'),
    ('productos', 'is_active', 'bool'), ('productos', 'tienda_id', 'uuid'),
    ('ventas', 'id', 'uuid'), ('ventas', 'fecha', 'timestamptz'), ('ventas', 'total', 'number'),
    ('ventas', 'metodo_pago', 'code'), ('ventas', 'created_at', 'timestamptz'), ('ventas', 'status_pago', 'code'),
    ('ventas', 'tienda_id', 'uuid'),
    ('detalles_venta', 'id', 'uuid'), ('detalles_venta', 'cantidad', 'number'),
    ('detalles_venta', 'subtotal', 'number'),
    ('detalles_venta', 'venta_id', 'uuid'), ('detalles_venta', 'producto_id', 'uuid'),
    ('insights', 'id', 'uuid'), ('insights', 'tipo', 'text'), ('insights', 'mensaje', 'text'),
    ('insights', 'nivel_urgencia', 'text'), ('insights', 'is_active', 'bool'), ('insights', 'extra_data', 'jsonb'),
    ('insights', 'created_at', 'timestamptz'), ('insights', 'tienda_id', 'uuid')
  ) w
),
found as (
  select w.*, c.oid as table_oid, k.takes, pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
    case w.kind
      when 'text' then t.typcategory = 'S'
      when 'code' then t.typcategory in ('S', 'E')
      when 'number' then t.typname in ('float8', 'numeric', 'float4', 'int8', 'int4', 'int2')
      else t.typname = w.kind
    end as fits
  from wanted w
  join kind k on k.name = w.kind
  left join pg_catalog.pg_class c on c.relnamespace = 'public'::pg_catalog.regnamespace
    and c.relname = w.relation and c.relkind in ('r', 'p')
  left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = w.name and not a.attisdropped
  -- A domain is what it is made of.
  left join pg_catalog.pg_type d on d.oid = a.atttypid
  left join pg_catalog.pg_type t on t.oid = coalesce(nullif(d.typbasetype, 0), d.oid)
)
select case
    when f.table_oid is null then pg_catalog.format('public.%s: expected a table of Nexus POS, found none', f.relation)
    else pg_catalog.format('public.%s.%s: expected %s, %s', f.relation, f.name, f.takes,
      coalesce('got ' || f.type, 'found no such column'))
  end as problem
from found f
where f.fits is not true and (f.table_oid is not null or f.name = 'id')
order by f.n
