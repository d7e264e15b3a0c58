import type { Pool } from "pg";

export const ourRoles = [
  "nexus_owner",
  "nexus_queue",
  "nexus_worker",
  "nexus_server",
  "nexus_tienda",
  "nexus_ops",
] as const;

export const schemas = ["nexus_engine", "nexus_api", "graphile_worker", "public"];

/**
 * Who may do what with every object of our schemas and of the POS's, asked of Postgres itself: one
 * line an object, `kind name: role=privileges …`. A role that is not named may do no more than
 * public, and public, where it is not named, nothing. A privilege on some columns names them.
 *   stranger: a login without any membership, shown as anyone.
 */
export async function privilegeMatrix(pool: Pool, stranger: string): Promise<string[]> {
  const { rows } = await pool.query<{ line: string }>(matrixQuery, [
    ["public", ...ourRoles, stranger],
    stranger,
    schemas,
  ]);
  return rows.map(({ line }) => line);
}

const matrixQuery = `
with role as (
  select r.name, case when r.name = $2 then 'anyone' else r.name end as label, r.n
  from unnest($1::text[]) with ordinality r (name, n)
),
namespace as (
  select n.oid, n.nspname from pg_catalog.pg_namespace n where n.nspname = any ($3)
),
relation as (
  select c.oid, format('%s %I.%I', case c.relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end, n.nspname, c.relname) as object, c.relkind
  from pg_catalog.pg_class c join namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
),
held as (
  select 'database' as object, r.label, r.n, p.n as priority, lower(p.name) as privilege
  from role r, unnest(array['CREATE', 'CONNECT', 'TEMPORARY']) with ordinality p (name, n)
  where has_database_privilege(r.name, current_database(), p.name)

  union all
  select format('schema %I', s.nspname), r.label, r.n, p.n, lower(p.name)
  from namespace s, role r, unnest(array['USAGE', 'CREATE']) with ordinality p (name, n)
  where has_schema_privilege(r.name, s.oid, p.name)

  union all
  select t.object, r.label, r.n, p.n, lower(p.name)
  from relation t, role r,
    unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) with ordinality p (name, n)
  where t.relkind <> 'S' and has_table_privilege(r.name, t.oid, p.name)

  union all
  select t.object, r.label, r.n, p.n, lower(p.name) || '(' || string_agg(a.attname, ' ' order by a.attnum) || ')'
  from relation t join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped,
    role r, unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) with ordinality p (name, n)
  where t.relkind <> 'S' and not has_table_privilege(r.name, t.oid, p.name)
    and has_column_privilege(r.name, t.oid, a.attnum, p.name)
  group by t.object, r.label, r.n, p.n, p.name

  union all
  select t.object, r.label, r.n, p.n, lower(p.name)
  from relation t, role r, unnest(array['USAGE', 'SELECT', 'UPDATE']) with ordinality p (name, n)
  -- Those of identity columns are used with the right to insert alone.
  where t.relkind = 'S' and has_sequence_privilege(r.name, t.oid, p.name)

  union all
  select 'function ' || f.oid::regprocedure || case when f.prosecdef then ' (security definer)' else '' end, r.label, r.n, 1, 'execute'
  from pg_catalog.pg_proc f join namespace s on s.oid = f.pronamespace, role r
  where has_function_privilege(r.name, f.oid, 'EXECUTE')

  union all
  select format('type %I.%I', s.nspname, t.typname), r.label, r.n, 1, 'usage'
  from pg_catalog.pg_type t join namespace s on s.oid = t.typnamespace
  left join pg_catalog.pg_class c on c.oid = t.typrelid, role r
  where (c.oid is null or c.relkind = 'c') and t.typelem = 0 and has_type_privilege(r.name, t.oid, 'USAGE')

  union all
  select 'role ' || b.rolname, r.label, r.n, 1, 'member'
  from role r
  join pg_catalog.pg_roles m on m.rolname = r.name
  join pg_catalog.pg_auth_members am on am.member = m.oid
  join pg_catalog.pg_roles b on b.oid = am.roleid

  union all
  select 'role ' || m.rolname, 'itself', 0, 0, a.name
  from pg_catalog.pg_roles m, lateral (
    values ('superuser', m.rolsuper), ('login', m.rolcanlogin), ('inherit', m.rolinherit), ('createrole', m.rolcreaterole),
      ('createdb', m.rolcreatedb), ('replication', m.rolreplication), ('bypassrls', m.rolbypassrls)
  ) a (name, is_so)
  where m.rolname in (select name from role where label <> 'anyone') and a.is_so
)
select h.object || ': ' || string_agg(h.label || '=' || h.privileges, ' ' order by h.n) as line
from (
  select h.object, h.label, h.n,
    case when h.object ~ '^(table|view) ' and count(*) = 7 and not bool_or(h.privilege like '%(%') then 'all'
      else string_agg(h.privilege, ',' order by h.priority, h.privilege) end as privileges
  from held h
  -- What everybody has is said once.
  where h.label = 'public' or not exists (
    select from held p where p.label = 'public' and p.object = h.object and p.privilege = h.privilege)
  group by h.object, h.label, h.n
) h
group by h.object
order by h.object collate "C"`;
